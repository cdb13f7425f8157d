"""Valid vectors recomputed without the package: fractions, hashlib, uuid, and the definitions in the RFCs."""

from __future__ import annotations

import hmac
import math
import uuid
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tests.unit.intertie.vectors import select

from intertie.v1.agreement_pb2 import Agreement
from intertie.v1.descriptor_pb2 import Descriptor
from intertie.v1.envelope_pb2 import Envelope
from intertie.v1.record_pb2 import RecordProof, RecordRoot

Given = dict[str, Any]


def h(data: bytes) -> bytes:
    return sha256(data).digest()


def mh(data: bytes) -> bytes:
    return b"\x12\x20" + h(data)


def price(line: Given) -> Fraction:
    return Fraction(int(line["num"]), int(line["den"]))


@pytest.mark.parametrize(("given", "output"), select("amounts", "charge"))
def test_charge(given: Given, output: Given) -> None:
    lines = zip(given["prices"], given["quantities"], strict=True)
    assert sum(math.ceil(price(line) * int(quantity)) for line, quantity in lines) == int(output["amount"])


@pytest.mark.parametrize(("given", "output"), select("amounts", "scale_price"))
def test_scale_price(given: Given, output: Given) -> None:
    product = price(given) * Fraction(int(given["markup_num"]), int(given["markup_den"]))
    assert (str(product.numerator), str(product.denominator)) == (output["num"], output["den"])


@pytest.mark.parametrize(("given", "output"), select("amounts", "apply_tariff"))
def test_apply_tariff(given: Given, output: Given) -> None:
    markup = Fraction(int(given["markup_num"]), int(given["markup_den"]))
    wanted = {line["unit"]: price(line) * markup for line in given["lines"]}
    if int(given["fee"]):
        wanted["order"] = wanted.get("order", Fraction(0)) + int(given["fee"])
    assert [line["unit"] for line in output["lines"]] == list(wanted)
    for line in output["lines"]:
        wanted_price = wanted[line["unit"]]
        assert (int(line["num"]), int(line["den"])) == (wanted_price.numerator, wanted_price.denominator)


@pytest.mark.parametrize(("given", "output"), select("amounts", "convert_limit"))
def test_convert_limit(given: Given, output: Given) -> None:
    left = int(given["amount"]) - int(given["fee_own"]) - int(given["lines"])
    ratio = Fraction(int(given["ratio_num"]), int(given["ratio_den"]))
    assert max(0, math.floor(left / ratio)) == int(output["amount"])


@pytest.mark.parametrize(("given", "output"), select("amounts", "total"))
def test_total(given: Given, output: Given) -> None:
    assert f"{int(given['total']) % 2**128:032x}" == output["bytes"]


@pytest.mark.parametrize(("given", "output"), select("amounts", "parse_amount"))
def test_parse_amount(given: Given, output: Given) -> None:
    assert Decimal(given["text"]).scaleb(given["scale"]) == int(output["amount"])


@pytest.mark.parametrize(("given", "output"), select("digests", "multihash"))
def test_multihash(given: Given, output: Given) -> None:
    digest = sha256(bytes.fromhex(given["data"])).hexdigest()
    assert output == {"digest": "1220" + digest, "text": "sha256:" + digest}


@pytest.mark.parametrize(("given", "output"), select("digests", "salted"))
def test_salted(given: Given, output: Given) -> None:
    assert mh(bytes.fromhex(given["nonce"] + given["data"])).hex() == output["digest"]


def pae(kind: str, payload: bytes) -> bytes:
    parts = [b"DSSEv1", str(len(kind.encode())).encode(), kind.encode(), str(len(payload)).encode(), payload]
    return b" ".join(parts)


@pytest.mark.parametrize(("given", "output"), select("envelopes", "pae"))
def test_pae(given: Given, output: Given) -> None:
    assert pae(given["payload_type"], bytes.fromhex(given["payload"])).hex() == output["bytes"]


def test_pae_example_of_the_dsse_specification() -> None:
    found = [param.values[1]["bytes"] for param in select("envelopes", "pae")]
    assert b"DSSEv1 29 http://example.com/HelloWorld 11 hello world".hex() in found


@pytest.mark.parametrize(("given", "output"), select("envelopes", "sign"))
def test_sign(given: Given, output: Given) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(given["seed"]))
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(pae(given["payload_type"], bytes.fromhex(given["payload"])))
    assert output == {"public_key": spki.hex(), "key_id": mh(spki).hex(), "signature": signature.hex()}


def signers(sealed: bytes, kind: str, *spkis: bytes) -> bytes:
    """Check that each key has signed and return the payload."""
    envelope = Envelope.FromString(sealed)
    assert envelope.payload_type == kind
    for spki in spkis:
        (value,) = (signature.value for signature in envelope.signatures if signature.key_id == mh(spki))
        load_der_public_key(spki).verify(value, pae(kind, envelope.payload))  # type: ignore[union-attr,call-arg]
    return envelope.payload


@pytest.mark.parametrize(("given", "output"), select("envelopes", "unseal"))
def test_unseal(given: Given, output: Given) -> None:
    keys = [bytes.fromhex(spki) for spki in given["public_keys"]]
    payload = signers(bytes.fromhex(given["envelope"]), given["payload_type"], *keys)
    assert (payload.hex(), [mh(key).hex() for key in keys]) == (output["payload"], output["key_ids"])


@pytest.mark.parametrize(("given", "output"), select("chains", "genesis"))
def test_genesis(given: Given, output: Given) -> None:
    assert h(b"intertie/v1/genesis\0" + bytes.fromhex(given["payload"])).hex() == output["genesis"]


@pytest.mark.parametrize(("given", "output"), select("chains", "heads"))
def test_heads(given: Given, output: Given) -> None:
    head, heads = bytes.fromhex(given["genesis"]), []
    for entry in map(bytes.fromhex, given["entries"]):
        head = h(b"intertie/v1/head\x00" + head + h(b"intertie/v1/entry\x00" + entry))
        heads.append(head.hex())
    assert heads == output["heads"]


@pytest.mark.parametrize(("given", "output"), select("chains", "session"))
def test_session(given: Given, output: Given) -> None:
    opens = h(bytes.fromhex(given["dialler"])) + h(bytes.fromhex(given["acceptor"]))
    assert h(b"intertie/v1/session\0" + opens).hex() == output["session"]


@pytest.mark.parametrize(("given", "output"), select("links", "link_signature"))
def test_link_signature(given: Given, output: Given) -> None:
    data = "".join(
        (
            b"intertie/v1/link\0".hex(),
            given["genesis"],
            given["session"],
            f"{int(given['seq']):016x}",
            given["head"],
            f"{int(given['acked']):016x}",
            given["acked_head"],
            f"{int(given['agreed_total']) % 2**128:032x}",
        )
    )
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(given["seed"]))
    assert output == {"bytes": data, "signature": key.sign(bytes.fromhex(data)).hex()}


def mth(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash, as RFC 6962 section 2.1 defines it."""
    if len(leaves) == 1:
        return h(b"\0" + leaves[0])
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return h(b"\1" + mth(leaves[:k]) + mth(leaves[k:]))


def audit_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """The audit path, as RFC 6962 section 2.1.1 defines it."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if index < k:
        return [*audit_path(index, leaves[:k]), mth(leaves[k:])]
    return [*audit_path(index - k, leaves[k:]), mth(leaves[:k])]


@pytest.mark.parametrize(("given", "output"), select("merkle", "tree"))
def test_tree(given: Given, output: Given) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in given["leaves"]]
    paths = [[node.hex() for node in audit_path(index, leaves)] for index in range(len(leaves))]
    assert output == {"root": mth(leaves).hex(), "paths": paths}


@pytest.mark.parametrize(("given", "output"), select("ids", "parse"))
def test_parse_id(given: Given, output: Given) -> None:
    parsed = uuid.UUID(given["id"])
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, given["id"])
    assert parsed.int >> 80 == int(output["time_ms"])


def uuid7(time_ms: int, random: bytes) -> str:
    number = time_ms << 80 | int.from_bytes(random, "big")
    number &= ~(0xF << 76 | 0x3 << 62)
    return str(uuid.UUID(int=number | 7 << 76 | 2 << 62))


@pytest.mark.parametrize(("given", "output"), select("ids", "make"))
def test_make_id(given: Given, output: Given) -> None:
    assert uuid7(int(given["time_ms"]), bytes.fromhex(given["random"])) == output["id"]


@pytest.mark.parametrize(("given", "output"), select("ids", "hop"))
def test_hop_id(given: Given, output: Given) -> None:
    message = b"intertie/v1/hop\0" + bytes.fromhex(given["digest"]) + given["attempt"].to_bytes(4, "big")
    mac = hmac.new(bytes.fromhex(given["secret"]), message, "sha256").digest()
    assert uuid7(int(given["time_ms"]), mac[:10]) == output["id"]


DESCRIPTOR = "application/vnd.intertie.descriptor.v1+protobuf"
AGREEMENT = "application/vnd.intertie.agreement.v1+protobuf"
RECORD_ROOT = "application/vnd.intertie.record-root.v1+protobuf"


@pytest.mark.parametrize(("given", "output"), select("descriptors", "verify_chain"))
def test_descriptor_chain(given: Given, output: Given) -> None:
    before, root, first_root, message = b"", b"", b"", Descriptor()
    for version, sealed in enumerate(map(bytes.fromhex, given["envelopes"]), start=1):
        message = Descriptor.FromString(Envelope.FromString(sealed).payload)
        payload = signers(sealed, DESCRIPTOR, *{message.root_key, root or message.root_key})
        assert (message.version, message.previous) == (version, mh(before) if before else b"")
        before, root, first_root = payload, message.root_key, first_root or message.root_key
    listed = [signing.public_key.hex() for signing in message.signing_keys]
    assert output == {
        "fingerprint": mh(first_root).hex(),
        "grid": message.grid,
        "version": str(len(given["envelopes"])),
        "digest": mh(before).hex(),
        "root_key": root.hex(),
        "signing_keys": [key for key in listed if len(key) == 88 and key.startswith("302a300506032b6570032100")],
    }


@pytest.mark.parametrize(("given", "output"), select("agreements", "verify"))
def test_agreement(given: Given, output: Given) -> None:
    chains = [given[side] for side in ("proposer", "acceptor") if side in given]
    latest = [Descriptor.FromString(Envelope.FromString(bytes.fromhex(chain[-1])).payload) for chain in chains]
    keys = [descriptor.signing_keys[0].public_key for descriptor in latest]
    payload = signers(bytes.fromhex(given["agreement"]), AGREEMENT, *keys)
    parties = [Agreement.FromString(payload).proposer, Agreement.FromString(payload).acceptor]
    for party, descriptor in zip(parties, latest, strict=False):
        assert party.fingerprint == mh(descriptor.root_key)
    assert output == {"genesis": h(b"intertie/v1/genesis\0" + payload).hex(), "digest": mh(payload).hex()}


@pytest.mark.parametrize(("given", "output"), select("records", "verify_proof"))
def test_record_proof(given: Given, output: Given) -> None:
    proof = RecordProof.FromString(bytes.fromhex(given["proof"]))
    executor = Descriptor.FromString(Envelope.FromString(bytes.fromhex(given["executor"][-1])).payload)
    root = RecordRoot.FromString(signers(proof.root, RECORD_ROOT, executor.signing_keys[0].public_key))
    others = [param.values[1]["record"] for param in select("records", "verify_proof")]
    leaves = [bytes.fromhex(record) for record in others]
    assert (root.size, root.root, root.executor) == (len(leaves), mth(leaves), mh(executor.root_key))
    assert list(proof.path) == audit_path(proof.index, leaves)
    assert output["record"] == proof.record.hex()
