"""The operations that vectors name, carried out by the package `intertie` or, where the rule is there, by the core."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.intertie import operations_of_logs, operations_of_orders

from intertie import agreements, amounts, chain, descriptors, digests, envelope, ids, merkle, records
from intertie.errors import IntertieError
from intertie.keys import PrivateKey, PublicKey
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import CatalogRoot
from intertie.v1.event_pb2 import Event
from intertie.v1.invocation_pb2 import Invocation
from intertie.v1.metering_pb2 import EnergyIntensity
from intertie.v1.record_pb2 import RecordProof
from intertie_node.core.buying import check_claim
from intertie_node.core.catalog import check_root, known_offer
from intertie_node.core.consuming import request_digest
from intertie_node.core.energy import energy_of
from intertie_node.core.holds import Hold, open_hold
from intertie_node.core.ledger import TariffTerms
from intertie_node.core.placing import check_place, relay_rate
from intertie_node.core.sinks import Rate
from intertie_node.core.world import World

Given = dict[str, Any]
unhex = bytes.fromhex


def _charge(given: Given) -> Given:
    prices = [(int(line["num"]), int(line["den"])) for line in given["prices"]]
    return {"amount": str(amounts.charge(prices, [int(quantity) for quantity in given["quantities"]]))}


def _scale_price(given: Given) -> Given:
    names = ("num", "den", "markup_num", "markup_den")
    num, den = amounts.scale_price(*(int(given[name]) for name in names))
    return {"num": str(num), "den": str(den)}


def _apply_tariff(given: Given) -> Given:
    lines = [(line["unit"], int(line["num"]), int(line["den"])) for line in given["lines"]]
    priced = amounts.apply_tariff(lines, *(int(given[name]) for name in ("markup_num", "markup_den", "fee")))
    return {"lines": [{"unit": unit, "num": str(num), "den": str(den)} for unit, num, den in priced]}


def _convert_limit(given: Given) -> Given:
    names = ("amount", "fee_own", "lines", "ratio_num", "ratio_den")
    return {"amount": str(amounts.convert_limit(*(int(given[name]) for name in names)))}


def _total(given: Given) -> Given:
    return {"bytes": amounts.total_to_bytes(int(given["total"])).hex()}


def _total_decode(given: Given) -> Given:
    return {"total": str(amounts.total_from_bytes(unhex(given["bytes"])))}


def _parse_amount(given: Given) -> Given:
    return {"amount": str(amounts.parse_amount(given["text"], given["scale"]))}


def _multihash(given: Given) -> Given:
    digest = digests.multihash(unhex(given["data"]))
    return {"digest": digest.hex(), "text": digests.to_text(digest)}


def _salted(given: Given) -> Given:
    return {"digest": digests.salted(unhex(given["nonce"]), unhex(given["data"])).hex()}


def _check_salted(given: Given) -> Given:
    if digests.salted(unhex(given["nonce"]), unhex(given["data"])) != unhex(given["digest"]):
        raise IntertieError("INPUT_INVALID", "The data are not those that the digest names.")
    return {}


def _parse_digest(given: Given) -> Given:
    return {"digest": digests.parse(unhex(given["digest"])).hex()}


def _from_text(given: Given) -> Given:
    return {"digest": digests.from_text(given["text"]).hex()}


def _pae(given: Given) -> Given:
    return {"bytes": envelope.pae(given["payload_type"], unhex(given["payload"])).hex()}


def _sign(given: Given) -> Given:
    key = PrivateKey.from_seed(unhex(given["seed"]))
    signature = key.sign(envelope.pae(given["payload_type"], unhex(given["payload"])))
    public = {"public_key": key.public.spki.hex(), "key_id": key.public.key_id.hex()}
    return {**public, "signature": signature.hex()}


def _public_key(given: Given) -> Given:
    return {"key_id": PublicKey.from_spki(unhex(given["public_key"])).key_id.hex()}


def _unseal(given: Given) -> Given:
    keys = {key.key_id: key for key in map(PublicKey.from_spki, map(unhex, given["public_keys"]))}
    opened = envelope.unseal(unhex(given["envelope"]), given["payload_type"], keys)
    return {"payload": opened.payload.hex(), "key_ids": [key_id.hex() for key_id in opened.key_ids]}


def _genesis(given: Given) -> Given:
    return {"genesis": chain.genesis(unhex(given["payload"])).hex()}


def _heads(given: Given) -> Given:
    head = unhex(given["genesis"])
    return {"heads": [(head := chain.entry_head(head, unhex(entry))).hex() for entry in given["entries"]]}


def _check_head(given: Given) -> Given:
    if _heads(given)["heads"][-1] != given["head"]:
        raise IntertieError("LOG_FORK", "The head is another one.")
    return {}


def _session(given: Given) -> Given:
    return {"session": chain.session_id(unhex(given["dialler"]), unhex(given["acceptor"])).hex()}


def _parse_head(given: Given) -> Given:
    return {"head": chain.parse_head(unhex(given["head"])).hex()}


def _signed_bytes(given: Given) -> bytes:
    texts = {name: unhex(given[name]) for name in ("genesis", "session", "head", "acked_head")}
    numbers = {name: int(given[name]) for name in ("seq", "acked", "agreed_total")}
    return chain.link_signature_bytes(**texts, **numbers)


def _link_signature(given: Given) -> Given:
    data = _signed_bytes(given)
    return {"bytes": data.hex(), "signature": PrivateKey.from_seed(unhex(given["seed"])).sign(data).hex()}


def _link_verify(given: Given) -> Given:
    key = PublicKey.from_spki(unhex(given["public_key"]))
    if not key.verify(unhex(given["signature"]), _signed_bytes(given)):
        raise IntertieError("SIGNATURE_INVALID", "The head signature is wrong.")
    return {}


def _tree(given: Given) -> Given:
    tree = merkle.tree(leaves := [unhex(leaf) for leaf in given["leaves"]])
    paths = [[node.hex() for node in tree.path(index)] for index in range(len(leaves))]
    return {"root": tree.root.hex(), "paths": paths}


def _proof(given: Given) -> Given:
    path = [unhex(node) for node in given["path"]]
    root = merkle.root_of(unhex(given["leaf"]), int(given["index"]), int(given["size"]), path)
    if root != unhex(given["root"]):
        raise IntertieError("CHARGE_UNPROVEN", "The path leads elsewhere.")
    return {}


def _parse_id(given: Given) -> Given:
    return {"time_ms": str(ids.parse_uuid7(given["id"]))}


def _make_id(given: Given) -> Given:
    return {"id": ids.make_uuid7(int(given["time_ms"]), unhex(given["random"]))}


def _hop(given: Given) -> Given:
    secret, digest = unhex(given["secret"]), unhex(given["digest"])
    return {"id": ids.hop_id(int(given["time_ms"]), secret, digest, given["attempt"])}


def _chain(texts: list[str]) -> descriptors.VerifiedDescriptor:
    return descriptors.verify_chain([unhex(text) for text in texts])


def _verify_chain(given: Given) -> Given:
    latest = _chain(given["envelopes"])
    return {
        "fingerprint": latest.fingerprint.hex(),
        "grid": latest.grid,
        "version": str(latest.version),
        "digest": latest.digest.hex(),
        "root_key": latest.root_key.spki.hex(),
        "signing_keys": [signing.key.spki.hex() for signing in latest.signing_keys],
    }


def _check_update(given: Given) -> Given:
    descriptors.check_update(_chain(given["old"]["envelopes"]), _chain(given["new"]["envelopes"]))
    return {}


def _verify_agreement(given: Given) -> Given:
    acceptor = _chain(given["acceptor"]) if "acceptor" in given else None
    verified = agreements.verify(unhex(given["agreement"]), _chain(given["proposer"]), acceptor)
    assert verified.countersigned is (acceptor is not None)
    return {"genesis": verified.genesis.hex(), "digest": verified.digest.hex()}


def _verify_proof(given: Given) -> Given:
    proof = RecordProof.FromString(unhex(given["proof"]))
    records.verify_proof(proof, _chain(given["executor"]), records.RootCache())
    return {"record": proof.record.hex()}


def _energy(given: Given) -> Given:
    intensities = [EnergyIntensity.FromString(unhex(text)) for text in given["intensities"]]
    energy = energy_of(intensities, {unit: int(quantity) for unit, quantity in given["usage"].items()})
    return {"energy": energy.SerializeToString(deterministic=True).hex()}


def _offer(given: Given) -> Given:
    known = known_offer(unhex(given["origin"]), "north.example", unhex(given["offer"]))
    lines = [{"unit": unit, "num": str(num), "den": str(den)} for unit, num, den in known.prices]
    return {"digest": known.digest.hex(), "name": known.offer.name, "prices": lines}


def _root(given: Given) -> Given:
    origin, now = _chain(given["descriptors"]), int(given["now"])
    keys = descriptors.signing_keys_at(origin, now)
    payload = envelope.unseal(unhex(given["root"]), envelope.CATALOG_ROOT, keys).payload
    offers = check_root(CatalogRoot.FromString(payload), origin.fingerprint, now)
    return {"digest": digests.multihash(payload).hex(), "offers": [digest.hex() for digest in offers]}


def _terms(given: Given) -> TariffTerms:
    return TariffTerms(b"", *(int(given[name]) for name in ("markup_num", "markup_den", "fee")), 0)


def _relay_rate(given: Given) -> Given:
    rate = relay_rate(_terms(given["upstream"]), _terms(given["downstream"]), 1)
    return {"ratio_num": str(rate.num), "ratio_den": str(rate.den), "fee_own": str(rate.fee)}


def _converted(given: Given) -> tuple[Rate, int]:
    fee, lines, num, den = (int(given[name]) for name in ("fee_own", "lines", "ratio_num", "ratio_den"))
    return Rate(fee, lines, num, den), int(given["amount"])


def _down(given: Given) -> Given:
    rate, amount = _converted(given)
    return {"amount": str(rate.down(amount))}


def _up(given: Given) -> Given:
    rate, amount = _converted(given)
    return {"amount": str(rate.up(amount))}


def _final_charge(given: Given) -> Given:
    order, charge = (pb.Entry.FromString(unhex(given[name])) for name in ("order", "charge"))
    hold, executor = open_hold(0, 2, order.at, order.order, 60_000, 3_600_000), _chain(given["executor"])
    assert isinstance(hold, Hold), hold
    offers = {hold.terms.offer_digest: SimpleNamespace(origin=executor.fingerprint)}
    world = SimpleNamespace(
        catalog=SimpleNamespace(offers=offers),
        executors={executor.fingerprint: executor},
        roots=records.RootCache(),
    )
    check_claim(cast(World, world), hold, charge.charge, int(given["before"]))
    return {"record": charge.charge.proof.record.hex()}


def _repeat(given: Given) -> Given:
    first, again = (request_digest(Invocation.FromString(unhex(given[name]))) for name in ("first", "again"))
    if first != again:
        raise IntertieError("ID_CONFLICT", "This id was used for another request.")
    return {}


def _place(given: Given) -> Given:
    check_place(given["places"], given["place"])
    return {}


def _event_size(given: Given) -> Given:
    event = Event.FromString(unhex(given["event"]))
    event.ClearField("order_seq")
    return {"size": str(event.ByteSize())}


OPERATIONS: dict[tuple[str, str], Callable[[Given], Given]] = {
    ("agreements", "verify"): _verify_agreement,
    ("amounts", "apply_tariff"): _apply_tariff,
    ("amounts", "charge"): _charge,
    ("amounts", "convert_limit"): _convert_limit,
    ("amounts", "parse_amount"): _parse_amount,
    ("amounts", "scale_price"): _scale_price,
    ("amounts", "total"): _total,
    ("amounts", "total_decode"): _total_decode,
    ("catalog", "offer"): _offer,
    ("catalog", "root"): _root,
    ("chains", "check_head"): _check_head,
    ("chains", "genesis"): _genesis,
    ("chains", "heads"): _heads,
    ("chains", "parse_head"): _parse_head,
    ("chains", "session"): _session,
    ("claims", "final_charge"): _final_charge,
    ("descriptors", "check_update"): _check_update,
    ("descriptors", "verify_chain"): _verify_chain,
    ("digests", "check_salted"): _check_salted,
    ("digests", "from_text"): _from_text,
    ("digests", "multihash"): _multihash,
    ("digests", "parse"): _parse_digest,
    ("digests", "salted"): _salted,
    ("envelopes", "pae"): _pae,
    ("envelopes", "public_key"): _public_key,
    ("envelopes", "sign"): _sign,
    ("envelopes", "unseal"): _unseal,
    ("groups", "take"): operations_of_logs.take,
    ("ids", "hop"): _hop,
    ("ids", "make"): _make_id,
    ("ids", "parse"): _parse_id,
    ("invocations", "event_size"): _event_size,
    ("invocations", "place"): _place,
    ("invocations", "repeat"): _repeat,
    ("links", "link_signature"): _link_signature,
    ("links", "link_verify"): _link_verify,
    ("logs", "judge"): operations_of_logs.judge,
    ("merkle", "proof"): _proof,
    ("merkle", "tree"): _tree,
    ("openings", "check_open"): operations_of_logs.check_open_message,
    ("openings", "plan"): operations_of_logs.plan,
    ("orders", "admit"): operations_of_orders.admit,
    ("records", "energy"): _energy,
    ("records", "verify_proof"): _verify_proof,
    ("relays", "down"): _down,
    ("relays", "rate"): _relay_rate,
    ("relays", "up"): _up,
}
