"""Timers: order, ties, and moments that share a place."""

from hypothesis import given
from hypothesis import strategies as st

from intertie_node.core.schedule import Schedule


@given(st.lists(st.tuples(st.integers(0, 20), st.text(max_size=3))), st.integers(0, 25))
def test_due_is_taken_once_in_order_of_time_then_of_setting(timers: list[tuple[int, str]], now: int) -> None:
    schedule = Schedule()
    for when, key in timers:
        schedule.at(when, "deadline", key)
    ordered = sorted(timers, key=lambda timer: timer[0])
    assert [key for _, key in schedule.due(now)] == [key for when, key in ordered if when <= now]
    assert schedule.due(now) == []
    assert [key for _, key in schedule.due(100)] == [key for when, key in ordered if when > now]


def test_what_is_set_for_a_moment_already_taken_is_due_again() -> None:
    schedule = Schedule()
    schedule.at(5, "forget", "a")
    assert schedule.due(7) == [("forget", "a")]
    schedule.at(5, "forget", "b")
    assert schedule.due(7) == [("forget", "b")]
