from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.growing import Floats
from app.search.normal import cdf
from app.search.worth import Draw, Ends, Passing, Standing, fresh_worth, refine_worth

PRICE = np.array([[2.0, 1.0]])


def drawn(mean: float, deviation: float, jump: float = 0.0) -> Draw:
    """One voter, one expert; refining gains next to nothing."""
    return Draw(
        start=np.array([[mean]]),
        start_variance=np.array([deviation**2]),
        refiner=np.array([0]),
        chance=np.array([0.1]),
        drift=np.array([1e-9]),
        variance=np.array([1e-6]),
        hazard=np.array([1.0]),
        jump=jump,
    )


@pytest.mark.parametrize(
    ("best", "step", "levels"),
    [
        (0.75, 0.25, [0.875]),
        (0.0, 0.25, [0.125, 0.375, 0.625, 0.875]),
        (0.0, 1.0, [0.5]),
        (0.5, 0.1, [0.55, 0.65, 0.75, 0.85, 0.95]),
        (0.2, 0.001, [0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]),
        (1.0, 0.1, [1.0]),
    ],
)
def test_scores_that_are_k_of_n_are_reached_from_half_a_step_below(
    best: float, step: float, levels: list[float]
) -> None:
    """One level for each score that would be better, as long as there are no more than eight."""
    assert Standing(best, best, step).levels == pytest.approx(levels)


def test_a_perfect_score_on_a_grid_is_as_likely_as_all_that_rounds_to_it() -> None:
    """From 3 of 4, one more is all there is to gain: a quarter, with P(score > 7/8)."""
    worth = fresh_worth(drawn(0.6, 0.2), Standing(0.75, 0.75, 0.25), PRICE, room=0)
    perfect = 1 - cdf(np.array([(0.875 - 0.6) / 0.2]))
    assert worth.item() == pytest.approx(0.25 * perfect.item() / 2)


def test_equal_scores_on_a_grid_do_not_prove_equal_answers() -> None:
    """Where all seen so far scored 2 of 4, the next may have 3; on a fine grid it may not."""
    coarse, fine = Standing(0.5, 0.5, 0.25), Standing(0.5, 0.5, 1e-3)
    ends = Ends([1], np.array([0.5]), np.array([0.0]), np.array([3]))
    sure = drawn(0.5, 1e-6)
    assert fresh_worth(sure, coarse, PRICE, room=0).item() > 1e-4
    assert fresh_worth(sure, fine, PRICE, room=0).item() < 1e-6
    assert refine_worth(sure, coarse, PRICE, ends).item() > 1e-4


@given(best=st.floats(0, 0.99), record=st.floats(0, 0.99))
def test_jumps_are_rarer_the_higher(best: float, record: float) -> None:
    """They are chances; and none but a perfect best leaves a fresh answer without hope."""
    standing = Standing(max(best, record), record, 1e-3)
    chances = standing.jumps(standing.levels)
    assert ((chances > 0) & (chances <= 1)).all()
    assert (np.diff(chances) <= 0).all()
    hopeless = drawn(0.0, 0.001)
    assert fresh_worth(replace(hopeless, jump=0.01), standing, PRICE, room=0).item() > 0


def test_coarse_scores_hide_climbs_and_not_jumps() -> None:
    """With two scores above the record nothing is hoped for that was never seen."""
    standing = Standing(0.5, 0.5, 0.25)
    assert not standing.jumps(standing.levels).any()


@given(tries=st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_chance_that_the_next_passes_falls_with_every_try(tries: list[int]) -> None:
    """One of n + 2 for an expert alone; whoever tried, it falls for all."""

    def chances(counts: list[int]) -> Floats:
        aim = Passing(1.0, 1.0, np.array(counts, dtype=np.float64))
        return aim.hoped(np.zeros((1, len(counts), 1, 1)), drawn(0.0, 0.001))[0, :, 0, 0]

    before, after = chances(tries), chances([tries[0] + 1, *tries[1:]])
    assert ((after > 0) & (after < before) & (before <= 0.5)).all()
    assert chances(tries[:1]) == pytest.approx(1 / (tries[0] + 2))


def test_chance_to_pass_is_that_of_a_normal_answer_where_this_is_larger() -> None:
    """Above the target less half a step."""
    aim = Passing(0.5, 0.1, np.array([100.0]))
    expected = 1 - cdf(np.array([(0.45 - 0.4) / 0.1]))
    found = fresh_worth(drawn(0.4, 0.1), aim, PRICE, room=0)
    assert found.item() == pytest.approx(expected.item() / 2)
