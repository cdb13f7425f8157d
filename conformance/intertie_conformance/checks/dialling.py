"""RFC 0005: the target as dialler and as payer of a link."""

from __future__ import annotations

from intertie_conformance.checks import check
from intertie_conformance.roles.waiting import until
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail


@check("IT-LNK-002", role="honest peer", consumer=True)
async def dialler_opens(stage: Stage) -> None:
    """A target that dials says Open first, without waiting for the suite."""
    shop = await stage.shop()
    shop.judges = False
    await shop.wait_dialled()
    if not shop.frames[0].open:
        fail("an Open as first frame of the dialler", [f.name for f, _ in shop.frames[0].ListFields()])
    stage.saw("the target dialled and said Open without waiting")


@check("IT-LNK-006", role="honest peer", slow=True, consumer=True)
async def dials_again(stage: Stage) -> None:
    """A target whose link has ended dials again within the longest delay."""
    shop = await (await stage.shop()).up()
    frames = shop.frames
    await shop.hang_up()
    await until(lambda: shop.frames is not frames and shop.frames, "the target dials again", 12.0)
    stage.saw("the target dialled again")
    await shop.up()
    await shop.still_buys()
