from collections import Counter

import numpy as np
import pytest

from app.search.broods import Rows
from app.search.posterior import VOTES, Belief, Beta, Draws, Gaussian
from app.search.tally import Tally

BELIEFS = [Gaussian(), Beta()]


def tally_of(*counted: float) -> Tally:
    """All of `counted`, one by one."""
    tally = Tally()
    for score in counted:
        tally.add(score)
    return tally


def draws(prior: Belief, arms: Rows, rng: np.random.Generator) -> Draws:
    """One of each arm."""
    return prior.ballots(arms, 0, rng)[1]


@pytest.mark.parametrize("prior", BELIEFS)
def test_draws_settle_on_the_mean_score(prior: Belief) -> None:
    """With many scores seen, a draw is close to their mean: it is of the mean, not of a score."""
    arms = np.array([prior.arm(tally_of(*[0.2, 0.8] * 2_000))] * 200)
    drawn = draws(prior, arms, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert np.ptp(drawn) < 0.1


@pytest.mark.parametrize("scores", [(), (0.3,), (0.1, 0.9), (0.5,) * 20])
@pytest.mark.parametrize("prior", BELIEFS)
def test_ballots_and_single_draws_have_one_distribution(
    prior: Belief, scores: tuple[float, ...]
) -> None:
    """Two ways to draw the same arm: their quantiles agree."""
    rng = np.random.default_rng(0)
    arm = prior.arm(tally_of(*scores))
    single = draws(prior, np.array([arm] * 40_000), rng)
    ballots = np.concatenate(
        [prior.ballots(np.array([arm] * 10), 10, rng)[0][:-1, 0] for _ in range(4_000)]
    )
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    width = np.quantile(single, 0.95) - np.quantile(single, 0.05)
    gap = np.quantile(single, levels) - np.quantile(ballots, levels)
    assert np.abs(gap).max() < 0.05 * width


@pytest.mark.parametrize("prior", BELIEFS)
def test_chance_above_is_how_often_the_second_draws_more(prior: Belief) -> None:
    """On the average over what it draws."""
    rng = np.random.default_rng(0)
    first, second = prior.arm(tally_of(0.5, 0.6)), prior.arm(tally_of(0.4, 0.9, 0.8))
    chance = np.mean([prior.chance_above(first, second, rng) for _ in range(10_000)])
    lower, upper = (draws(prior, np.array([arm] * 40_000), rng) for arm in (first, second))
    assert chance == pytest.approx(np.mean(upper > lower), abs=0.015)


@pytest.mark.parametrize("prior", BELIEFS)
def test_best_single_is_the_best_of_all_draws(prior: Belief) -> None:
    """Drawing only what can win: every arm wins as often, and with the same value."""
    rng = np.random.default_rng(0)
    scores = np.linspace(0.0, 1.0, 12)
    rows = np.array([prior.arm(tally_of(score)) for score in scores.tolist()])
    ids = np.arange(12, dtype=np.int32)
    count = 20_000
    found = [prior.best_single(rows, ids, 1.0, rng) for _ in range(count)]
    drawn = np.array([draws(prior, rows, rng) for _ in range(count)])
    wins, expected = Counter(place for place, _ in found), np.bincount(drawn.argmax(axis=1))
    for place in range(12):
        error = np.sqrt(2 * expected[place])
        assert wins[place] == pytest.approx(expected[place], abs=4.5 * error + 2)
    median = np.median([value for _, value in found])
    assert median == pytest.approx(np.median(drawn.max(axis=1)), rel=0.02)


def test_best_single_of_one_is_that_one() -> None:
    """With nothing to compare it to."""
    rows = np.array([Gaussian().arm(tally_of(0.5))] * 3)
    place, _ = Gaussian().best_single(
        rows, np.array([2], dtype=np.int32), 0.5, np.random.default_rng(0)
    )
    assert place == 2


@pytest.mark.parametrize("prior", BELIEFS)
def test_every_ballot_counts(prior: Belief) -> None:
    """One column a vote, one row a contender, and one for the others; of each of these one draw."""
    arms = np.array([prior.arm(tally_of(0.5))] * 5)
    ballots, others = prior.ballots(arms, 3, np.random.default_rng(0))
    assert ballots.shape == (4, VOTES)
    assert len(np.unique(ballots[:-1])) == 3 * VOTES
    assert (ballots[-1] == -np.inf).all()
    assert len(np.unique(others)) == 2


def test_row_is_the_posterior() -> None:
    """The short way to compute it is no other posterior."""
    prior, tally = Gaussian(0.2, 2.0, 3.0, 0.4), tally_of(0.3, 0.9, 0.4)
    posterior = prior.given(tally)
    m, spread, shape = prior.arm(tally)
    assert (m, 2 * shape) == pytest.approx((posterior.m, posterior.nu))
    assert spread**2 / shape == pytest.approx(posterior.tau_square / posterior.kappa)
