from collections import Counter
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.tally import Census, Tally
from tests.search.driving import scores


def tally_of(counted: list[float]) -> Tally:
    """All of `counted`, one by one."""
    tally = Tally()
    for score in counted:
        tally.add(score)
    return tally


@given(st.lists(scores), st.lists(scores))
def test_merged_tally_counts_both(left: list[float], right: list[float]) -> None:
    """To the last unit, in any order, and it can be taken apart again."""
    merged = tally_of(left)
    merged.merge(tally_of(right))
    assert merged == tally_of(right + left)
    assert merged.without(tally_of(right)) == tally_of(left)


@given(st.lists(scores), st.lists(scores))
def test_merged_census_counts_both(left: list[float], right: list[float]) -> None:
    """Score by score in percent, and the largest of these counts."""
    merged, both = Census(), Counter(round(100 * score) for score in left + right)
    for part in (left, right):
        census = Census()
        for score in part:
            census.add(score)
        merged.merge(census)
    assert merged.percents == both
    assert merged.most == max(both.values(), default=0)


@pytest.mark.parametrize("spread", [0.0, 1e-6, 0.1])
def test_ten_thousand_scores_lose_nothing_to_rounding(spread: float) -> None:
    """Scores near 1 and near each other are the worst case of a sum of squares."""
    rng = Random(0)
    counted = [1.0 - spread * rng.random() for _ in range(10_000)]
    centre = sum(map(Fraction, counted)) / len(counted)
    exact = float(sum((Fraction(score) - centre) ** 2 for score in counted))
    tally = tally_of(counted)
    assert tally.mean == pytest.approx(float(centre), abs=1e-12)
    assert tally.deviation == pytest.approx(exact, rel=1e-5, abs=1e-18)
