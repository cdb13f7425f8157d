"""RFC 0003, sections 3.6 to 3.8: amounts, tariffs, totals, ids, names."""

from __future__ import annotations

from intertie.v1 import descriptor_pb2 as ds
from intertie.v1 import entry_pb2 as pb
from intertie.v1.agreement_pb2 import Agreement
from intertie_conformance.checks import check
from intertie_conformance.checks.frames import tariff
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering, proposing
from intertie_conformance.roles.customer import invocation
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import amounts, ids
from intertie_conformance.wire.digests import TOTAL_BYTES
from intertie_conformance.wire.status import Said

K = pb.EntryKind
INT64_MAX = 2**63 - 1


async def metered(peer: Peer, usage: dict[str, int], most: int) -> int:
    """What the target charges for an order of the offer meter."""
    seq = await ordering.order(peer, "meter", {"usage": usage}, max_charge=most, grant=most)
    charge = await ordering.expect_charged(peer, seq)
    prices = peer.logs.account.holds[0, seq].prices
    wanted = amounts.charge(prices, [{**usage, "order": 1}.get(unit, 0) for unit, _, _ in prices])
    if charge.amount != wanted:
        fail(f"a charge of {wanted} for {usage}", charge.amount)
    return charge.amount


@check("IT-ENC-040", role="honest peer")
async def rounds_each_line(stage: Stage) -> None:
    """Each price line is rounded up alone, then all are summed."""
    peer = await (await stage.peer()).up()
    for _ in range(3):
        usage = {"llm.output.token": stage.random.randrange(1, 99) * 10 + 1, "mcp.call": stage.random.randrange(1, 9)}
        await metered(peer, usage, 10_000)


@check("IT-ENC-041", role="honest peer")
async def exact_products(stage: Stage) -> None:
    """A product beyond 64 bits whose quotient fits is computed exactly."""
    limits = {"proposer_credit_limit": INT64_MAX, "proposer_max_unagreed": INT64_MAX}
    peer = await (await stage.peer(**limits)).up()
    await metered(peer, {"mcp.call": 2**61 + stage.random.randrange(1, 1_000)}, INT64_MAX)


@check("IT-ENC-042", role="consumer", consumer=True, refusal=True)
async def overflow(stage: Stage) -> None:
    """Under a tariff that lifts a price above 2^63 - 1 nothing is ordered, at no price; under a sound one it is."""
    shop = await (await stage.shop()).up()
    shop.sell(markup_num=2**62)
    await shop.expect_signed()
    wanted = invocation(shop.ref("echo"), {"x": 1}, max_charge=INT64_MAX, first_grant=1)
    said = await stage.customer.run(wanted, 3.0)
    reason = said.reason if isinstance(said, Said) else said.problem.reason
    if reason not in ("AMOUNT_OVERFLOW", "OFFER_UNKNOWN"):
        fail("AMOUNT_OVERFLOW, or OFFER_UNKNOWN where such offers are left out (IT-CAT-089)", said)
    if any(fact.entry.kind == K.ENTRY_KIND_ORDER for fact in shop.facts):
        fail("no order at a price that cannot be stated", "an order")
    stage.saw(f"the call was refused with {reason} and nothing was ordered")
    shop.sell()
    await shop.expect_signed()
    await shop.still_buys()


@check("IT-ENC-045", role="honest peer", consumer=True)
async def tariff_applied(stage: Stage) -> None:
    """The target orders at the offer's prices times the markup, in lowest terms, the fee added to "order"."""
    shop = await (await stage.shop()).up()
    num, den, fee = stage.random.randrange(3, 50), stage.random.randrange(2, 20), stage.random.randrange(1, 99)
    shop.sell(markup_num=num, markup_den=den, fee=fee)
    await shop.expect_signed()
    bought = await shop.ordered("meter", {"usage": {"mcp.call": 1}}, max_charge=100_000)
    wanted = amounts.under_tariff(shop.offered["conformance/meter"].prices, num, den, fee)
    if shop.hold(bought.seq).prices != wanted:
        fail(f"{wanted}", shop.hold(bought.seq).prices)
    stage.saw(f"the order's prices are those under {num}/{den} and a fee of {fee}")
    shop.charge(shop.claim(bought.seq, {"order": 1, "mcp.call": 1}))
    await bought.outcome()


@check("IT-ENC-047", role="hostile peer", refusal=True)
async def total_bytes(stage: Stage) -> None:
    """A signed total of another length than 16 bytes is refused with SIGNATURE_INVALID."""
    peer = await (await stage.peer()).up()
    for size in (0, TOTAL_BYTES - 8, TOTAL_BYTES - 1, TOTAL_BYTES + 1):
        tariff(peer)
        frame = peer.frame(agreed_total=bytes(size))
        await peer.expect_no_trace(frame, "SIGNATURE_INVALID")


@check("IT-ENC-060", role="honest peer", consumer=True)
async def order_ids(stage: Stage) -> None:
    """The ids of the target's orders are UUIDv7 in lower-case text form, and no two are equal."""
    shop = await (await stage.shop()).up()
    seen = set()
    for _ in range(2):
        bought = await shop.ordered("echo", {"x": 1})
        seen.add(bought.order.id)
        if not ids.is_id(bought.order.id):
            fail("a UUIDv7 in lower-case text form", bought.order.id)
        shop.charge(shop.claim(bought.seq, {"order": 1}))
        await bought.outcome()
    if len(seen) != 2:
        fail("another id for each order", seen)
    stage.saw("two orders had ids of their own")


@check("IT-ENC-061", role="consumer", refusal=True, consumer=True)
async def bad_ids(stage: Stage) -> None:
    """Ids of another form, version, variant or case are refused with ID_INVALID, of calls and of orders."""
    peer = await (await stage.peer()).up()
    good = ids.make_id(now_ms())
    bad = [good.upper().replace("0", "A"), good[:14] + "4" + good[15:], good[:19] + "c" + good[20:], "x" * 36]
    for text in bad:
        seq = await ordering.order(peer, "echo", {"x": 1}, id=text)
        await ordering.expect_rejected(peer, seq, "ID_INVALID")
    for text in (*bad, good.replace("-", ""), ""):
        said = await stage.customer.run(invocation(f"{stage.target.grid}/conformance/echo", {"x": 1}, id=text))
        if not isinstance(said, Said) or said.reason != "ID_INVALID":
            fail("ID_INVALID for a call", said)
    stage.saw("the calls were refused with ID_INVALID")
    await ordering.still_sells(peer)


@check("IT-ENC-070", role="stranger", refusal=True)
async def names(stage: Stage) -> None:
    """Names and codes of another form are refused: in a descriptor DESCRIPTOR_INVALID, in terms AGREEMENT_INVALID."""
    me, sealed = proposing.sound(stage)

    def described(field: str, value: object) -> list[bytes]:
        def bend(message: ds.Descriptor) -> None:
            if field == "endpoints":
                message.endpoints.add(kind=ds.ENDPOINT_KIND_PEER, address=str(value))
            elif field == "features":
                message.features.append(str(value))
            else:
                setattr(message, field, value)

        return proposing.bent_chain(me, bend)

    for field, values in {
        "grid": ["North.example", "-a.example", "a..b", "a.123", "a.example.", "x" * 64 + ".example"],
        "place": ["de", "DEU", "DE-", "DE-ABCD"],
        "endpoints": ["nowhere", "a.example:0", "a.example:65536", "a.example:080"],
        "features": ["Upper", "two words", "x" * 65, "-x"],
    }.items():
        await proposing.refused(stage, described(field, stage.random.choice(values)), sealed, "DESCRIPTOR_INVALID")

    def asset(message: Agreement) -> None:
        message.asset = stage.random.choice(["usd", "US", "1USD", "x-", "ABCDEFGHIJKLM"])

    await proposing.refused(stage, me.chain, proposing.bent_terms(stage, me, asset), "AGREEMENT_INVALID")
    await proposing.taken(stage, me.chain, sealed)
