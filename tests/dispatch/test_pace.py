"""How long a refused client is told to wait."""

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.pace import LONGEST_S, SHORTEST_S, UNKNOWN_S, Pace


def test_wait_is_what_lies_ahead_at_the_pace_of_late() -> None:
    """Ten turns a second, a hundred ahead: ten seconds."""
    pace = Pace()
    pace.begin(0.0)
    for end in range(1, 51):
        pace.ended(end / 10)
    assert pace.wait_s(100, at_s=5.0) == 10


def test_wait_grows_while_nothing_ends() -> None:
    """A pace of the past is no promise."""
    pace = Pace()
    pace.begin(0.0)
    pace.ended(1.0)
    assert pace.wait_s(2, at_s=1.0) == 2
    assert pace.wait_s(2, at_s=20.0) == 40


def test_what_ended_before_there_was_a_queue_does_not_count() -> None:
    """An idle hour would make any pace look slow."""
    pace = Pace()
    pace.ended(0.0)
    pace.begin(3_600.0)
    assert pace.wait_s(10, at_s=3_600.1) == UNKNOWN_S
    pace.ended(3_600.5)
    assert pace.wait_s(10, at_s=3_600.5) == 5


@given(ends=st.lists(st.floats(0, 1e6)), ahead=st.integers(0, 10**6), later_s=st.floats(0, 1e6))
def test_wait_is_always_within_its_bounds(ends: list[float], ahead: int, later_s: float) -> None:
    """Never now, and never so late that nobody would come back."""
    pace = Pace()
    for end in sorted(ends):
        pace.ended(end)
    told = pace.wait_s(ahead, at_s=max(ends, default=0.0) + later_s)
    assert SHORTEST_S <= told <= LONGEST_S
