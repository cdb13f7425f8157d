"""RFC 0010, section 3.7: what a payer takes of a final charge. A consumer of the target buys at a market that lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import ENERGY_METHOD_MEASURED, Energy, UsageLine
from intertie.v1.record_pb2 import RecordProof
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_WORKING
from intertie_conformance.checks import check
from intertie_conformance.grid.account import THEM
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.identity import DAY_MS, now_ms
from intertie_conformance.grid.logs import Fact
from intertie_conformance.roles.customer import outcome_of
from intertie_conformance.roles.market import PRICES, Market
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import envelope, merkle, records
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.keys import Key

UNPROVEN, MISMATCH = "CHARGE_UNPROVEN", "RECORD_MISMATCH"
Lie = Callable[[Market, pb.Order], dict[str, Any]]
"""Changes of an honest final charge."""
USED = {"order": 1, "mcp.call": 2}


async def sells(stage: Stage) -> tuple[Market, Offered]:
    """A market with one offer that the target lists."""
    market = await stage.market()
    await market.up()
    offer = market.offer(prices=[*PRICES, ("mcp.call", 3, 1)])
    await market.open_market(offer)
    return market, offer


async def bought(market: Market, offer: Offered) -> Fact:
    """An order of the target's consumer; the call goes on."""
    market.stage.customer.call(f"{market.me.grid}/{offer.message.name}")
    return await market.expect_order()


async def honestly(market: Market, offer: Offered) -> None:
    """The positive control: an honest final charge is agreed to."""
    call = market.stage.customer.call(f"{market.me.grid}/{offer.message.name}")
    fact = await market.expect_order()
    before = market.logs.account.agreed(THEM, market.logs.account.acked[THEM])
    seq = market.deliver(fact, usage=USED)
    await market.expect_signed(seq)
    outcome = await outcome_of(call)
    total = market.logs.account.agreed(THEM, market.logs.account.acked[THEM])
    if outcome.state != TASK_STATE_COMPLETED or outcome.receipt.charge != 16 or total != before + 16:
        fail(
            "an honest final charge of 16 is agreed to", f"{outcome.receipt.charge}; the total rose by {total - before}"
        )
    market.stage.saw("an honest final charge of 16 was agreed to")


def recorded(**changes: Any) -> Lie:
    """A proof of a record with these fields."""

    def lie(market: Market, order: pb.Order) -> dict[str, Any]:
        made = {name: value(order) if callable(value) else value for name, value in changes.items()}
        return {"proof": market.prove(market.record(order, USED, **made))}

    return lie


def proof(change: Callable[[Market, RecordProof], RecordProof | None]) -> Lie:
    """An honest proof, changed."""
    return lambda market, order: {"proof": change(market, market.prove(market.record(order, USED)))}


def rooted(change: Callable[[Market, bytes], bytes]) -> Lie:
    """Another envelope of the root; given market and record."""

    def changed(market: Market, made: RecordProof) -> RecordProof:
        return RecordProof(record=made.record, root=change(market, made.record), index=made.index, path=made.path)

    return proof(changed)


def root_of(market: Market, record: bytes, *keys: Key, kind: str = envelope.RECORD_ROOT, **changes: Any) -> bytes:
    """A root's envelope, but for the changes."""
    from intertie.v1.record_pb2 import RecordRoot

    fields: dict[str, Any] = {
        "executor": market.me.fingerprint,
        "root": merkle.root([record]),
        "size": 1,
        "signed_at": now_ms(),
    }
    payload = RecordRoot(**{**fields, **changes}).SerializeToString()
    return envelope.seal(kind, payload, keys or (market.me.key,))


def _bent(market: Market, record: bytes) -> bytes:
    sealed = envelope.peek(root_of(market, record))
    value = bytearray(sealed.signatures[0].value)
    value[market.stage.random.randrange(64)] ^= 4
    sealed.signatures[0].value = bytes(value)
    return sealed.SerializeToString()


def _of_five(market: Market, made: RecordProof, **changes: Any) -> RecordProof:
    """The record as the third of five, but for the changes."""
    leaves = [b"one", b"two", made.record, b"four", b"five"]
    whole = records.prove(leaves, market.me.fingerprint, now_ms(), market.me.key)[2]
    for name, value in changes.items():
        if name == "path":
            del whole.path[:]
            whole.path.extend(value(list(merkle.path(leaves, 2))))
        else:
            setattr(whole, name, value)
    return whole


def _flip(path: list[bytes]) -> list[bytes]:
    return [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]


def used(*lines: tuple[str, int]) -> Lie:
    """A record with these usage lines."""
    return recorded(usage=[UsageLine(unit=unit, quantity=quantity) for unit, quantity in lines])


def _not_an_end(market: Market, order: pb.Order) -> dict[str, Any]:
    return {"state": TASK_STATE_WORKING, "proof": market.prove(market.record(order, USED))}


FAULTS: dict[str, tuple[Lie, str]] = {
    "1: a state that is not terminal": (_not_an_end, UNPROVEN),
    "2: no proof of COMPLETED": (lambda market, order: {"proof": None}, UNPROVEN),
    "2: no proof of FAILED for more": (lambda market, order: {"proof": None, "state": TASK_STATE_FAILED}, UNPROVEN),
    "3: a proof of 17,000 bytes": (
        recorded(energy=Energy(method=ENERGY_METHOD_MEASURED, boundary="x" * 17_000)),
        UNPROVEN,
    ),
    "5: a root's envelope of 5,000 bytes": (
        rooted(lambda market, record: root_of(market, record) + b"\x7a\x88\x27" + bytes(5_000)),
        UNPROVEN,
    ),
    "5: an envelope of another type": (
        rooted(lambda market, record: root_of(market, record, kind=envelope.CATALOG_ROOT)),
        UNPROVEN,
    ),
    "5: a stranger's signature": (rooted(lambda market, record: root_of(market, record, Key())), UNPROVEN),
    "5: the root key's signature": (rooted(lambda market, record: root_of(market, record, market.me.root)), UNPROVEN),
    "5: a wrong signature": (rooted(_bent), UNPROVEN),
    "6: a root of another grid": (
        rooted(lambda market, record: root_of(market, record, executor=multihash(b"another"))),
        UNPROVEN,
    ),
    "7: signed before the key was valid": (
        rooted(lambda market, record: root_of(market, record, signed_at=now_ms() - 30 * DAY_MS)),
        UNPROVEN,
    ),
    "7: signed after the key was valid": (
        rooted(lambda market, record: root_of(market, record, signed_at=now_ms() + 30 * DAY_MS)),
        UNPROVEN,
    ),
    "8: a root of 31 bytes": (rooted(lambda market, record: root_of(market, record, root=bytes(31))), UNPROVEN),
    "8: an index beyond the tree": (proof(lambda market, made: _of_five(market, made, index=5)), UNPROVEN),
    "8: a path too short": (proof(lambda market, made: _of_five(market, made, path=lambda p: p[:-1])), UNPROVEN),
    "8: a path too long": (
        proof(lambda market, made: _of_five(market, made, path=lambda p: [*p, bytes(32)])),
        UNPROVEN,
    ),
    "9: another leaf's index": (proof(lambda market, made: _of_five(market, made, index=3)), UNPROVEN),
    "9: a path with one bit changed": (proof(lambda market, made: _of_five(market, made, path=_flip)), UNPROVEN),
    "10: a record of another grid": (recorded(executor=multihash(b"another")), UNPROVEN),
    "11: an output digest of 3 bytes": (recorded(output_digest=b"abc"), UNPROVEN),
    "11: a nonce of 15 bytes": (recorded(nonce=bytes(15)), UNPROVEN),
    "11: a state that is not terminal": (recorded(state=TASK_STATE_WORKING), UNPROVEN),
    "11: a place that is none": (recorded(place="nowhere"), UNPROVEN),
    "11: usage out of order": (used(("order", 1), ("mcp.call", 2)), UNPROVEN),
    "11: a unit twice": (used(("mcp.call", 2), ("mcp.call", 2), ("order", 1)), UNPROVEN),
    "11: a unit without a name": (used(("", 1), ("mcp.call", 2), ("order", 1)), UNPROVEN),
    "11: a negative quantity": (used(("mcp.call", 2), ("order", 1), ("sim.step", -1)), UNPROVEN),
    "11: 17 units": (used(*(sorted([("order", 1), *((f"x-{n:02d}", 1) for n in range(16))]))), UNPROVEN),
    "11: energy bounds out of order": (
        recorded(energy=Energy(method=ENERGY_METHOD_MEASURED, millijoules=5, lower=6, upper=7)),
        UNPROVEN,
    ),
    "11: an end before the start": (recorded(started_at=10, ended_at=9), UNPROVEN),
    "12: another nonce": (recorded(nonce=bytes(16)), MISMATCH),
    "12: another offer": (recorded(offer_digest=multihash(b"another")), MISMATCH),
    "12: another input": (recorded(input_digest=multihash(b"another")), MISMATCH),
    "12: another state": (recorded(state=TASK_STATE_FAILED), MISMATCH),
    "13: a lower quantity": (used(("mcp.call", 1), ("order", 1)), MISMATCH),
    "13: a priced unit left out": (used(("order", 1)), MISMATCH),
    "14: two orders": (
        lambda market, order: {
            "quantities": [2 if line.unit == "order" else 0 for line in order.prices],
            "amount": 20,
            "proof": market.prove(market.record(order, {"order": 2})),
        },
        MISMATCH,
    ),
}
"""Row of Table 1 and fault → (lie, reason)."""


@check("IT-MTR-062", role="executor", refusal=True, consumer=True)
async def table_of_final_charges(stage: Stage) -> None:
    """Every row of Table 1: the fault is refused by its reason, and honest charges are agreed to."""
    market, offer = await sells(stage)
    await honestly(market, offer)
    for fault, (lie, reason) in FAULTS.items():
        fact = await bought(market, offer)
        seq = market.deliver(fact, b"", usage=USED, **lie(market, fact.entry.order))
        stage.trace.note("suite", f"row {fault}")
        await market.expect_refused(seq, reason)
    await honestly(market, offer)


@check("IT-MTR-062", role="executor", consumer=True)
async def places_in_a_batch(stage: Stage) -> None:
    """A record is proven at every place of a batch of five, and by keys that have ended since."""
    market, offer = await sells(stage)
    for index in range(5):
        fact = await bought(market, offer)
        record = market.record(fact.entry.order, USED).SerializeToString()
        leaves = [b"a", b"b", b"c", b"d"]
        leaves.insert(index, record)
        made = records.prove(leaves, market.me.fingerprint, now_ms(), market.me.key)[index]
        seq = market.deliver(fact, b"", usage=USED, proof=made)
        await market.expect_signed(seq)
    refused = [fact for fact in market.facts if fact.entry.kind == pb.ENTRY_KIND_REFUSE]
    if refused:
        fail("each of five places is agreed to", f"a refuse with {refused[0].entry.refuse.rule}")
    stage.saw("a record at each place of a batch of five was agreed to")


@check("IT-MTR-064", role="executor", refusal=True, consumer=True)
async def unproven_is_not_agreed(stage: Stage) -> None:
    """What fails a check is not in the total that the target signs."""
    market, offer = await sells(stage)
    await honestly(market, offer)
    for fault in ("2: no proof of COMPLETED", "12: another nonce", "13: a lower quantity"):
        lie, reason = FAULTS[fault]
        fact = await bought(market, offer)
        before = market.logs.account.agreed(THEM, market.logs.account.acked[THEM])
        seq = market.deliver(fact, b"", usage=USED, **lie(market, fact.entry.order))
        await market.expect_signed(seq)
        await market.expect_refused(seq, reason)
        total = market.logs.account.agreed(THEM, market.logs.account.acked[THEM])
        if total != before:
            fail(f"the total stays {before} ({fault})", f"{total}")
        stage.saw(f"the signed total stayed {before} ({fault})")
