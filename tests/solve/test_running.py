"""What a process counts as running: all that it means to end, and nothing that it has given up."""

import pytest

from app.ids import solve_id
from app.solve.running import Running


def test_solve_counts_from_before_it_is_held() -> None:
    """And no longer, where it could not be held."""
    running, made = Running(), solve_id()
    with running.starting(made):
        assert made in running
    assert made in running, "its run is yet to begin"
    refused = solve_id()
    with pytest.raises(ConnectionError), running.starting(refused):
        raise ConnectionError
    assert refused not in running


def test_solve_that_starts_twice_counts_until_both_have_failed() -> None:
    """It was lost to another process, and came back while the first one still tried."""
    running, made = Running(), solve_id()
    with running.starting(made):
        with pytest.raises(ConnectionError), running.starting(made):
            raise ConnectionError
        assert made in running
    assert made in running, "its run is yet to begin"
