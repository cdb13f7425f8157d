"""Both logs of a link as one list: whole, in order, causal, whatever the page size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from intertie.v1 import entry_pb2 as pb
from intertie_node.core.effects import Row
from intertie_node.ports import ME, THEM
from intertie_node.services import log_pages

Turn = tuple[int, int]
"""(who writes, how much of what the other has written arrives first)."""


class Logs:
    """The two logs of a link, as a store gives them."""

    def __init__(self, turns: list[Turn]) -> None:
        self.rows: tuple[list[Row], list[Row]] = ([], [])
        seen = [0, 0]
        for at, (side, arriving) in enumerate(turns):
            seen[side] = min(len(self.rows[1 - side]), seen[side] + arriving)
            entry = pb.Entry(kind=pb.ENTRY_KIND_CANCEL, seen=seen[side], at=at // 3)
            self.rows[side].append((len(self.rows[side]) + 1, entry.SerializeToString(), b""))

    def entries(self, link: str, side: int, after: int, upto: int, max_bytes: int) -> list[Row]:
        """A page of at most three rows."""
        return self.rows[side][after : min(upto, after + 3)]

    @property
    def upto(self) -> tuple[int, int]:
        return len(self.rows[ME]), len(self.rows[THEM])


turns = st.lists(st.tuples(st.sampled_from([ME, THEM]), st.integers(0, 4)), max_size=40)


@given(turns, st.integers(1, 7))
def test_pages_join_to_the_whole(turns: list[Turn], limit: int) -> None:
    logs = Logs(turns)
    told: list[log_pages.Told] = []
    token, pages = "", 0
    while True:
        found, token = log_pages.page(logs, "l", log_pages.position(token), logs.upto, limit)  # type: ignore[arg-type]
        told += found
        pages += 1
        if not token:
            break
    assert pages == max(1, -(-len(turns) // limit))
    known = [0, 0]
    for item in told:
        assert item.seq == known[item.side] + 1
        assert item.entry.seen <= known[1 - item.side]
        known[item.side] = item.seq
    assert tuple(known) == logs.upto


@given(turns, st.integers(1, 9))
def test_the_last_page_is_the_end_of_the_whole(turns: list[Turn], limit: int) -> None:
    logs = Logs(turns)
    last = log_pages.last_page(logs, "l", logs.upto, limit)  # type: ignore[arg-type]
    assert len(last) == min(limit, len(turns))
    for side in (ME, THEM):
        seqs = [item.seq for item in last if item.side == side]
        assert seqs == list(range(logs.upto[side] - len(seqs) + 1, logs.upto[side] + 1))
