"""RFC 0008, sections 3.2 and 3.7: the inputs and prices of orders at the target."""

from __future__ import annotations

from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.grid.account import THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail


async def refused_input(peer: Peer, name: str, value: object) -> dict[str, str]:
    """The metadata by which an input is refused."""
    seq = await ordering.order(peer, name, value)
    await ordering.expect_rejected(peer, seq, "INPUT_INVALID")
    return dict((await ordering.end_of(peer, seq)).entry.reject.problem.metadata)


@check("IT-CAT-015", role="hostile peer", refusal=True)
async def unfit_inputs(stage: Stage) -> None:
    """Inputs that do not fit the schema are rejected with INPUT_INVALID, before any work."""
    peer = await (await stage.peer()).up()
    for name, value in (
        ("delay", {}),
        ("delay", {"ms": "1"}),
        ("delay", {"ms": -1}),
        ("delay", {"ms": 1, "more": 1}),
        ("delay", [1]),
        ("delay", b"{"),
        ("meter", {"usage": {"x-other": 1}}),
        ("stream", {"chunks": 1, "bytes": 0}),
        ("fail", {"as": "nothing"}),
    ):
        await refused_input(peer, name, value)
    await ordering.still_sells(peer)


@check("IT-CAT-016", role="hostile peer", refusal=True)
async def faults_located(stage: Stage) -> None:
    """The refusal of an input names where and by which keyword it does not fit."""
    peer = await (await stage.peer()).up()
    rows: tuple[tuple[str, object, str, str], ...] = (
        ("delay", {"ms": "1"}, "$.ms", "type"),
        ("delay", {"ms": -1}, "$.ms", "minimum"),
        ("delay", {}, "$", "required"),
        ("delay", [1], "$", "type"),
        ("delay", b"{", "$", "json"),
        ("fail", {"as": "nothing"}, "$.as", "enum"),
    )
    for name, value, path, rule in rows:
        metadata = await refused_input(peer, name, value)
        if (metadata.get("path"), metadata.get("rule")) != (path, rule):
            fail(f"path {path} and rule {rule} for {value!r}", metadata)
        stage.saw(f"path {path}, rule {rule}")
    await ordering.still_sells(peer)


@check("IT-CAT-017", role="honest peer")
async def any_input(stage: Stage) -> None:
    """An offer without a schema takes every input."""
    peer = await (await stage.peer()).up()
    offer = await ordering.offer(peer, "echo")
    if offer.message.input_schema not in (b"", b"{}", b"true"):
        fail("no schema of echo", offer.message.input_schema.decode(errors="replace"))
    for data in (b"\xff\x00", b"{", b"7", b'"x"', b"[" * 70, b""):
        await ordering.expect_charged(peer, await ordering.order(peer, "echo", data))


@check("IT-CAT-081", role="hostile peer", refusal=True)
async def other_prices(stage: Stage) -> None:
    """Orders with other lines than the tariff gives, or of no tariff of this origin, are rejected PRICE_CHANGED."""
    peer = await (await stage.peer()).up()
    sound, _ = await ordering.make_order(peer, "meter", {"usage": {}})
    lines = list(sound.prices)
    seq, _ = ordering.tariff(peer)
    tariff = pb.Tariff(origin=peer.me.fingerprint, markup_num=1, markup_den=1, expires_at=now_ms() + 60_000)
    foreign = peer.put(pb.ENTRY_KIND_TARIFF, tariff=tariff)

    def changed(index: int, **fields: object) -> list[Any]:
        made = [type(line).FromString(line.SerializeToString()) for line in lines]
        for name, value in fields.items():
            setattr(made[index], name, value)
        return made

    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("a lower price", {"prices": changed(0, num=lines[0].num - 1)}),
        ("a higher price", {"prices": changed(0, num=lines[0].num + 1)}),
        ("a line less", {"prices": lines[:-1]}),
        ("another order of lines", {"prices": lines[::-1]}),
        ("not in lowest terms", {"prices": changed(0, num=2 * lines[0].num, den=2 * lines[0].den)}),
        ("another unit", {"prices": changed(0, unit="x-other")}),
        ("no lines", {"prices": []}),
        ("an unknown tariff", {"tariff_seq": seq + 1_000}),
        ("no tariff", {"tariff_seq": 0}),
        ("a tariff of the other log", {"tariff_seq": foreign + 500}),
    )
    for what, changes in cases:
        made = {"prices": lines, **changes}
        await ordering.expect_rejected(
            peer, await ordering.order(peer, "meter", {"usage": {}}, **made), "PRICE_CHANGED"
        )
        stage.saw(what)
    await ordering.still_sells(peer)


@check("IT-CAT-083", role="hostile peer", refusal=True)
async def newest_named(stage: Stage) -> None:
    """A PRICE_CHANGED names the newest tariff of the origin."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "echo", {}, tariff_seq=10_000, prices=[])
    await ordering.expect_rejected(peer, seq, "PRICE_CHANGED")
    metadata = dict((await ordering.end_of(peer, seq)).entry.reject.problem.metadata)
    tariffs = peer.logs.account.tariffs[THEM].items()
    newest = max(number for number, tariff in tariffs if tariff.origin == peer.peer.fingerprint)
    if metadata.get("tariff_seq") != str(newest):
        fail(f"tariff_seq {newest}", metadata)
    stage.saw(f"tariff_seq {newest} was named")
    await ordering.still_sells(peer)
