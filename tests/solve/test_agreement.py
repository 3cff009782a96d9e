"""When a vote is settled: against exact values, and rules that hold of any vote."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.solve.agreement import leaders, majority, still_needed

votes = st.integers(0, 32).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.floats(0.5, 0.999, exclude_min=True)


@pytest.mark.parametrize(
    ("leading", "of", "expected"),
    [
        (0, 0, Fraction(1, 2)),
        (1, 1, Fraction(3, 4)),
        (2, 2, Fraction(7, 8)),
        (3, 3, Fraction(15, 16)),
        (4, 4, Fraction(31, 32)),
        (1, 2, Fraction(1, 2)),
        (2, 3, Fraction(11, 16)),
        (5, 6, Fraction(120, 128)),
        (6, 7, Fraction(247, 256)),
        (4, 8, Fraction(1, 2)),
        (7, 8, Fraction(502, 512)),
        (1, 8, Fraction(10, 512)),
        (32, 32, 1 - Fraction(1, 2**33)),
    ],
)
def test_majority_has_its_exact_value(leading: int, of: int, expected: Fraction) -> None:
    """Tails of Beta(1 + m, 1 + n - m) at a half, summed by hand."""
    assert majority(leading, of) == float(expected)


def _integrated(leading: int, of: int, steps: int = 4_000) -> float:
    """The same tail as the area under the density, by the midpoint rule."""
    density = [
        (share := (step + 0.5) / steps) ** leading * (1 - share) ** (of - leading)
        for step in range(steps)
    ]
    return sum(density[steps // 2 :]) / sum(density)


@given(votes)
def test_majority_is_the_area_under_the_posterior(vote: tuple[int, int]) -> None:
    """As the formula says, by another way than the formula."""
    assert majority(*vote) == pytest.approx(_integrated(*vote), abs=1e-4)


@given(votes)
def test_a_vote_and_its_opposite_are_sure_of_opposites(vote: tuple[int, int]) -> None:
    """The prior favours nobody."""
    leading, of = vote
    assert majority(leading, of) + majority(of - leading, of) == pytest.approx(1.0)


@given(votes)
def test_every_vote_for_the_leader_makes_it_surer_and_every_other_less_so(
    vote: tuple[int, int],
) -> None:
    """One more vote, either way."""
    leading, of = vote
    assert majority(leading, of + 1) < majority(leading, of) < majority(leading + 1, of + 1)


@given(vote=votes, confidence=confidences, most=st.integers(0, 64))
def test_no_fewer_votes_than_needed_settle_it(
    vote: tuple[int, int], confidence: float, most: int
) -> None:
    """And so many do, unless not even the most would."""
    leading, of = vote
    needed = still_needed(leading, of, confidence=confidence, most=most)
    assert all(majority(leading + more, of + more) < confidence for more in range(needed))
    assert needed == most or majority(leading + needed, of + needed) >= confidence


@given(st.lists(st.none() | st.sampled_from("abc"), max_size=12))
def test_leaders_are_the_largest_group_of_readable_answers(said: list[str | None]) -> None:
    """All places of one answer; nothing where nothing could be read."""
    found = leaders(said)
    readable = [answer for answer in said if answer is not None]
    assert len(found) == max((readable.count(answer) for answer in set(readable)), default=0)
    assert len({said[place] for place in found}) == min(1, len(readable))
    assert None not in {said[place] for place in found}


def test_of_equal_groups_the_first_given_leads() -> None:
    """So that the same answers in the same order have the same winner."""
    assert leaders(["b", None, "a", "a", "b"]) == [0, 4]
