from math import fsum
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.posterior import Beta, Gaussian, Tally
from tests.search.driving import scores


def tally_of(counted: list[float]) -> Tally:
    """All of `counted`, one by one."""
    tally = Tally()
    for score in counted:
        tally.add(score)
    return tally


@given(st.lists(scores), st.lists(scores))
def test_merged_tally_counts_both(left: list[float], right: list[float]) -> None:
    """Merging is as good as counting all scores in one tally."""
    merged, whole = tally_of(left), tally_of(left + right)
    merged.merge(tally_of(right))
    assert merged.n == whole.n
    assert merged.total == pytest.approx(whole.total)
    assert merged.deviation == pytest.approx(whole.deviation, abs=1e-12)


@pytest.mark.parametrize("spread", [0.0, 1e-6, 0.1])
def test_ten_thousand_scores_lose_nothing_to_rounding(spread: float) -> None:
    """Scores near 1 and near each other are the worst case of a sum of squares."""
    rng = Random(0)
    counted = [1.0 - spread * rng.random() for _ in range(10_000)]
    centre = fsum(counted) / len(counted)
    exact = fsum((score - centre) ** 2 for score in counted)
    assert tally_of(counted).deviation / 10_000 == pytest.approx(exact / 10_000, abs=1e-11)


@pytest.mark.parametrize("prior", [Gaussian(), Beta()])
def test_draws_settle_on_the_mean_score(prior: Gaussian | Beta) -> None:
    """With many scores seen, a draw is close to their mean: it is of the mean, not of a score."""
    belief = prior.given(tally_of([0.2, 0.8] * 2_000))
    drawn = [belief.draw(np.random.default_rng(seed)) for seed in range(200)]
    assert fmean(drawn) == pytest.approx(0.5, abs=0.01)
    assert max(drawn) - min(drawn) < 0.1
