"""Buying from the target over a scripted peer: its catalog, sound orders, and how they end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final

import grpc

from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import OriginRoute
from intertie.v1.metering_pb2 import PriceLine
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.fetching import fetch_offers
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.logs import Fact
from intertie_conformance.roles.peer import Peer
from intertie_conformance.verdicts import Failed, Slip, fail
from intertie_conformance.wire import amounts, envelope, ids
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.status import said

K = pb.EntryKind
DEADLINE_MS: Final = 20_000


async def own_route(peer: Peer) -> OriginRoute:
    """The route by which the target advertises its own origin on the present stream."""
    route = await peer.wait(lambda: peer.routes.get(peer.peer.fingerprint), "the target's own origin advertised")
    assert route is not None
    return route


async def offers(peer: Peer) -> dict[str, Offered]:
    """The target's own offers by name, fetched once a peer. The peer must be up."""
    known: dict[str, Offered] | None = getattr(peer, "offers", None)
    if known is None:
        route = await own_route(peer)
        root = envelope.peek(route.root).payload
        try:
            found = await fetch_offers(peer.stage.target.peer_address, peer.me, peer.peer, peer.genesis, root)
        except grpc.aio.AioRpcError as error:
            raise Failed("the target serves the offers of its catalog", str(said(error))) from None
        known = {offer.message.name: offer for offer in found}
        peer.offers = known  # type: ignore[attr-defined]
    return known


async def offer(peer: Peer, name: str) -> Offered:
    """One conformance offer of the target. Raises: Failed if it has none."""
    found = (await offers(peer)).get(f"conformance/{name}")
    if found is None:
        raise Failed(f"the target offers conformance/{name}", f"only {sorted(await offers(peer))}")
    return found


def tariff(peer: Peer) -> tuple[int, pb.Tariff]:
    """(seq, tariff) that the target advertises for its own origin."""
    route = peer.routes.get(peer.peer.fingerprint)
    tariffs = peer.logs.account.tariffs[THEM]
    if route is None or route.tariff_seq not in tariffs:
        fail("the target advertises its own origin under a tariff that it wrote", "no such route")
    return route.tariff_seq, tariffs[route.tariff_seq]


async def make_order(peer: Peer, name: str, value: object, **changes: Any) -> tuple[pb.Order, bytes]:
    """A sound order of a conformance offer, but for the changes, and its input."""
    wanted = await offer(peer, name)
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    await own_route(peer)
    seq, priced_by = tariff(peer)
    nonce = os.urandom(16)
    fields: dict[str, Any] = {
        "id": ids.make_id(now_ms()),
        "offer_digest": wanted.digest,
        "tariff_seq": seq,
        "max_charge": 1_000,
        "grant": 1_000,
        "deadline": now_ms() + DEADLINE_MS,
        "hop_limit": 4,
        "path": [peer.me.grid],
        "nonce": nonce,
        "input": {"media_type": "application/json", "digest": salted(nonce, data), "size": len(data)},
    }
    if "prices" not in changes:
        terms = (priced_by.markup_num, priced_by.markup_den, priced_by.fee)
        lines = amounts.under_tariff(wanted.prices, *terms)
        fields["prices"] = [PriceLine(unit=unit, num=num, den=den) for unit, num, den in lines]
    return pb.Order(**{**fields, **changes}), data


async def order(peer: Peer, name: str, value: object, *, within_ms: int = 0, **changes: Any) -> int:
    """Send an order with its input; returns its seq. `within_ms` is how far ahead its deadline is, counted last."""
    made, data = await make_order(peer, name, value, **changes)
    if within_ms:
        made.deadline = now_ms() + within_ms
    return await send(peer, made, data)


async def send(peer: Peer, made: pb.Order, data: bytes) -> int:
    """Send an order that was made before, with its input; returns its seq."""
    seq = peer.write(entry(K.ENTRY_KIND_ORDER, order=made), data)
    peer.flush()
    return seq


async def end_of(peer: Peer, seq: int, seconds: float | None = None) -> Fact:
    """Wait for the entry that ends an own order: a final charge or a reject."""

    def ends(fact: Fact) -> bool:
        entry = fact.entry
        final = entry.kind == K.ENTRY_KIND_CHARGE and entry.charge.final and entry.charge.order_seq == seq
        return final or (entry.kind == K.ENTRY_KIND_REJECT and entry.reject.order_seq == seq)

    def found() -> Fact | None:
        return next((fact for fact in peer.facts if ends(fact)), None)

    void = peer.logs.account.void.get((ME, seq))
    if void is not None:
        raise Slip(f"the suite's own order {seq} is void: {void}")
    fact = await peer.wait(found, f"a final charge or reject of order {seq}", seconds)
    assert fact is not None
    return fact


async def expect_charged(peer: Peer, seq: int, seconds: float | None = None) -> pb.Charge:
    """Wait for a valid final charge of an own order."""
    fact = await end_of(peer, seq, seconds)
    if fact.entry.kind != K.ENTRY_KIND_CHARGE:
        fail(f"a final charge of order {seq}", f"a reject: {fact.entry.reject.problem.reason}")
    if fact.void is not None:
        fail(f"a valid final charge of order {seq}", f"a charge that is void: {fact.void}")
    peer.stage.saw(f"order {seq} was charged {fact.entry.charge.amount}")
    return fact.entry.charge


async def expect_rejected(peer: Peer, seq: int, *reasons: str) -> str:
    """Wait for the reject of an own order with one of these reasons."""
    fact, wanted = await end_of(peer, seq), " or ".join(reasons)
    if fact.entry.kind != K.ENTRY_KIND_REJECT:
        fail(f"a reject of order {seq} with {wanted}", f"a charge of {fact.entry.charge.amount}")
    reason = fact.entry.reject.problem.reason
    if reason not in reasons:
        fail(f"a reject of order {seq} with {wanted}", f"a reject with {reason}")
    peer.stage.saw(f"order {seq} was rejected with {reason}")
    return reason


async def still_sells(peer: Peer) -> None:
    """The positive control of refused orders and entries: an echo on the same link is done and charged."""
    seq = await order(peer, "echo", {"control": 1})
    await expect_charged(peer, seq)


async def when(peer: Peer, look: Callable[[], bool], what: str, seconds: float | None = None) -> None:
    """Wait for something and note it."""
    await peer.wait(look, what, seconds)
    peer.stage.saw(what)
