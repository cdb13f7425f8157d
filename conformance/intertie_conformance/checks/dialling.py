"""RFC 0005: the target as dialler and as payer of a link."""

from __future__ import annotations

from intertie_conformance.checks import check
from intertie_conformance.checks.opening import open_payload, sealed_frame
from intertie_conformance.grid.link import Phase
from intertie_conformance.roles.customer import invocation
from intertie_conformance.roles.waiting import until
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.status import Said


@check("IT-LNK-002", role="honest peer", consumer=True)
async def dialler_opens(stage: Stage) -> None:
    """A target that dials says Open first, without waiting for the suite."""
    shop = await stage.shop()
    shop.judges = False
    await shop.wait_dialled()
    if not shop.frames[0].open:
        fail("an Open as first frame of the dialler", [f.name for f, _ in shop.frames[0].ListFields()])
    stage.saw("the target dialled and said Open without waiting")


@check("IT-LNK-006", role="honest peer", waits_s=1, consumer=True)
async def dials_again(stage: Stage) -> None:
    """A target whose link has ended dials again within the longest delay."""
    shop = await (await stage.shop()).up()
    frames = shop.frames
    await shop.hang_up()
    await until(lambda: shop.frames is not frames and shop.frames, "the target dials again", stage.within(12.0))
    stage.saw("the target dialled again")
    await shop.up()
    await shop.still_buys()


@check("IT-LNK-048", role="honest peer", consumer=True)
async def inputs_again(stage: Stage) -> None:
    """An order that is resent to a provider that has lost everything comes with its input again."""
    shop = await (await stage.shop()).up()
    value = {"again": stage.random.randrange(10**6)}
    bought = await shop.ordered("delay", value)
    await shop.wait(lambda: bought.seq in shop.inputs, "the input of an order")
    data, frames = shop.inputs.pop(bought.seq), shop.frames
    await shop.hang_up()
    shop.forget()
    await until(lambda: shop.frames is not frames and shop.frames, "the target dials again", stage.within(12.0))
    await shop.wait(lambda: shop.phase is Phase.OPEN, "an open link, both logs whole again")
    if shop.inputs.get(bought.seq) != data:
        fail("the input beside the order again", shop.inputs.get(bought.seq))
    stage.saw("the input came again beside its order")
    shop.charge(shop.claim(bought.seq, {"order": 1}))
    await bought.outcome()


@check("IT-LNK-121", role="consumer", refusal=True, consumer=True)
async def few_open_orders(stage: Stage) -> None:
    """With max_open_holds of 2 a third order is not placed while two are open, and is once one has ended."""
    shop = await (await stage.shop(max_open_holds=2)).up()
    two = [await shop.ordered("delay", {"ms": n}) for n in range(2)]
    said = await stage.customer.run(invocation(shop.ref("echo"), {"x": 1}))
    reason = said.reason if isinstance(said, Said) else said.problem.reason
    if reason != "TOO_MANY_ORDERS":
        fail("the third call refused with TOO_MANY_ORDERS", said)
    stage.saw("the third call was refused with TOO_MANY_ORDERS")
    shop.charge(shop.claim(two[0].seq, {"order": 1}))
    await two[0].outcome()
    await shop.expect_signed()
    await shop.still_buys()
    shop.charge(shop.claim(two[1].seq, {"order": 1}))
    await two[1].outcome()


async def crossing(stage: Stage, smaller: bool) -> None:
    """The target dials and waits for an Open; a second stream is dialled to it meanwhile."""
    shop = await stage.shop_beside(smaller)
    shop.judges = False
    await shop.wait_dialled()
    mine = await shop.aside(sealed_frame(shop, open_payload(shop)))
    loser, winner = (mine.frames, shop.frames) if smaller else (shop.frames, mine.frames)
    reasons = await shop.wait(lambda: [f.close.reason for f in loser if f.HasField("close")], "a close SUPERSEDED")
    if reasons != ["SUPERSEDED"] or any(frame.HasField("close") for frame in winner):
        fail("SUPERSEDED on the stream that does not stay, and no close on the other", reasons)
    if not smaller:
        await until(lambda: any(f.open for f in mine.frames), "an Open on the stream that stays", stage.patience)
    stage.saw(f"the stream of the {'smaller' if smaller else 'larger'}-fingerprinted target was treated by the table")


@check("IT-LNK-060", role="honest peer", consumer=True)
async def smaller_dialler_stays(stage: Stage) -> None:
    """A stream that the target has dialled stays while its fingerprint is the smaller one."""
    await crossing(stage, smaller=True)


@check("IT-LNK-060", role="honest peer", consumer=True)
async def larger_dialler_yields(stage: Stage) -> None:
    """A stream that the target has dialled yields to the peer's where its fingerprint is the larger one."""
    await crossing(stage, smaller=False)
