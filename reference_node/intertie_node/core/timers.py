"""What happens when a timer of the world is due: deadlines, unknown outcomes, expiries, forgetting (design §9)."""

from collections.abc import Callable, Mapping

from intertie_node.core import buying, consuming, executing, rejoining, selling
from intertie_node.core.effects import Effects
from intertie_node.core.world import World


def _deadline(world: World, key: str, fx: Effects) -> None:
    inv = world.invocations.get(key)
    if inv is not None:
        executing.deadline(world, inv, fx)
        selling.waiting_deadline(world, inv, fx)


def _unknown(world: World, key: str, fx: Effects) -> None:
    inv = world.invocations.get(key)
    if inv is not None:
        consuming.unknown(world, inv, fx)


def _expire(world: World, key: str, fx: Effects) -> None:
    name, _, seq = key.rpartition(":")
    link = world.links.get(name)
    if link is not None:
        buying.expire_due(world, link, int(seq), fx)


def _result(world: World, key: str, fx: Effects) -> None:
    inv = world.invocations.get(key)
    if inv is not None:
        buying.result_due(world, inv, fx)


def _recover(world: World, key: str, fx: Effects) -> None:
    inv = world.invocations.get(key)
    if inv is not None:
        rejoining.give_up(world, inv, fx)


def _forget(world: World, key: str, fx: Effects) -> None:
    inv = world.invocations.get(key)
    if inv is not None and inv.ended and inv.finished:
        world.forget(inv)
        if key in world.invocations:
            world.at(fx.now + consuming.KEEP_ENDED_MS, "forget", key)


DUE: Mapping[str, Callable[[World, str, Effects], None]] = {
    "deadline": _deadline,
    "unknown": _unknown,
    "expire": _expire,
    "forget": _forget,
    "recover": _recover,
    "result": _result,
}
"""What happens when a timer of the world is due."""
