"""Faults that are planted in a launched node, by replacing methods: nothing of this ships.

`speak_before_commit`, `skip_retransmission`: what the judge must catch.
`spoil:<offer>`: a dishonest provider, which claims that offer's work with a proof that does not hold.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from intertie.v1.record_pb2 import RecordProof
from intertie_node.core.effects import Effects
from intertie_node.core.sources import OrderSource
from intertie_node.services import links
from intertie_node.services.engine import Engine

SPEAKS_AHEAD_S = 0.1


def plant(name: str) -> None:
    """Plant one fault. Raises: KeyError for an unknown one."""
    kind, _, argument = name.partition(":")
    PLANTS[kind](argument)


def _speak_before_commit(_: str) -> None:
    """Words and work go out at once, the rows follow a little later."""

    def launch(engine: Any) -> None:
        turns = engine.turns
        effects = turns.close()
        turns._speak(effects)
        effects.sends, effects.replies, effects.work = [], [], []
        if not effects.changes:
            return

        def commit() -> None:
            time.sleep(SPEAKS_AHEAD_S)
            turns._reach("before_commit", effects)
            engine._store.commit(effects.changes)

        turns.flying = effects
        engine._flying = asyncio.get_running_loop().run_in_executor(engine._pool, commit)
        engine._flying.add_done_callback(lambda _: engine._wake.set())

    setattr(Engine, "_launch", launch)  # noqa: B010 - a fault is planted


def _skip_retransmission(_: str) -> None:
    """Nothing is resent when a link opens again, as if the other side had everything."""

    def resend_page(store: Any, work: Any, input_of: Any) -> tuple[list[bytes], None]:
        return [], None

    links.resend_page = resend_page


def _spoil(offer: str) -> None:
    honest = OrderSource.finish

    def finish(source: OrderSource, world: Any, inv: Any, end: Any, fx: Effects) -> None:
        if inv.spec.offer.endswith("/" + offer) and end.proof is not None:
            proof = RecordProof()
            proof.CopyFrom(end.proof)
            proof.record = proof.record[:-1] + bytes([proof.record[-1] ^ 1])
            end = msgspec.structs.replace(end, proof=proof)
        honest(source, world, inv, end, fx)

    setattr(OrderSource, "finish", finish)  # noqa: B010 - a fault is planted


PLANTS: dict[str, Callable[[str], None]] = {
    "speak_before_commit": _speak_before_commit,
    "skip_retransmission": _skip_retransmission,
    "spoil": _spoil,
}
