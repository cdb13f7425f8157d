"""A payer resumes the events of orders that the executor knows nothing of (IT-INV-075)."""

from __future__ import annotations

import pytest
from tests.kit.line import Line

from intertie.v1.event_pb2 import Event, Resume
from intertie_node.core.effects import Effects
from intertie_node.core.grid import Grid
from intertie_node.core.link import Link


@pytest.mark.parametrize("order_seq", [1, 1_000_000, 2**63])
def test_a_resume_of_an_unknown_order_is_answered_by_a_gap(order_seq: int, monkeypatch: pytest.MonkeyPatch) -> None:
    line, heard = Line(), []
    take = Grid._event

    def note(grid: Grid, link: Link, event: Event, fx: Effects) -> None:
        heard.append(event)
        take(grid, link, event, fx)

    def resume(fx: Effects) -> None:
        outbox = line.hub.link(line.south.identity).outbox
        outbox.events.append(Event(order_seq=order_seq, resume=Resume(after_seq=4, credit=1_000)))

    monkeypatch.setattr(Grid, "_event", note)
    line.hub.submit(resume)
    line.net.run()
    (gap,) = [event for event in heard if event.HasField("gap")]
    assert (gap.order_seq, gap.gap.first, gap.gap.last) == (order_seq, 5, 0)
    assert gap.gap.problem.reason == "EVENTS_GONE"
    assert line.refusal(line.north) == ""
