"""Figures of merit, against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation import rivals
from app.evaluation.figures import Curve, Ends, Sweep, auroc, calibration_error, curve
from app.evaluation.streams import replayed, synthetic
from app.gate.certificate import Promise

TWO = Ends(
    cheap_right=np.array([1.0, 0.0]),
    strong_right=np.array([1.0, 1.0]),
    cheap_cost=np.array([1.0, 1.0]),
    strong_cost=np.array([10.0, 10.0]),
)
ALL = np.ones(2)


def _curve(sweep: Sweep) -> Curve:
    found = curve(sweep, TWO, ALL)
    assert found is not None
    return found


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30),
)
def test_auroc_counts_pairs(scored: list[tuple[int, bool]]) -> None:
    """Ties half; without pairs, a half."""
    pairs = [
        1.0 if right > wrong else 0.5 if right == wrong else 0.0
        for right, is_right in scored
        if is_right
        for wrong, is_wrong in scored
        if not is_wrong
    ]
    scores = np.array([float(score) for score, _ in scored])
    labels = np.array([float(label) for _, label in scored])
    assert auroc(scores, labels) == pytest.approx(np.mean(pairs) if pairs else 0.5)


def test_calibration_error_is_how_far_bins_are_off() -> None:
    """None where every bin's mean holds; the distance where none does."""
    chances = np.repeat(np.arange(0.05, 1, 0.1), 20)
    labels = np.concatenate([np.arange(20) < round(20 * p) for p in np.arange(0.05, 1, 0.1)])
    assert calibration_error(chances, labels.astype(float)) == pytest.approx(0, abs=1e-12)
    assert calibration_error(np.full(50, 0.9), np.zeros(50)) == pytest.approx(0.9)


def test_mixing_costs_in_proportion() -> None:
    """A coin recovers half of the gap for half of the difference."""
    line = _curve(rivals.random_mixing(TWO))
    assert line.cheap == pytest.approx(0.1)
    assert line.cost_to_recover(0.5) == pytest.approx(0.55)
    assert line.recovered_at(0.55) == pytest.approx(0.5)
    assert line.apgr == pytest.approx(0.5)


def test_oracle_pays_for_what_helps_alone() -> None:
    """One strong call of two recovers everything."""
    line = _curve(rivals.oracle(TWO))
    assert line.recovered_at(0.6) == pytest.approx(1)
    assert line.cost_to_recover(1.0) == pytest.approx(0.6)


def test_what_no_setting_recovers_costs_as_much_as_always_strong() -> None:
    """Going straight to the strong arm is always possible."""
    useless = Sweep(right=np.array([[1.0, 0.0]]), cost=np.array([[5.0, 5.0]]))
    assert _curve(useless).cost_to_recover(1.0) == pytest.approx(1.0)


def test_ranking_escalates_the_doubtful_first() -> None:
    """So half of the calls recover all of the gap, or none when the doubt is misplaced."""
    for chances, recovered in ((np.array([0.9, 0.1]), 1.0), (np.array([0.1, 0.9]), 0.0)):
        sweep = rivals.ranked(TWO, chances)
        half = len(rivals.SHARES) // 2
        assert sweep.right[half].mean() == pytest.approx(0.5 + recovered / 2)


@pytest.mark.parametrize("epsilon", [0.02, 0.05])
def test_false_certificates_are_no_more_than_promised(epsilon: float) -> None:
    """A sample of what `fathom eval certificates` counts; most true ones are found."""
    kept = synthetic(Promise(epsilon, delta=0.1), streams=60, seed=0)
    assert kept.violations <= kept.allowed(0.1)
    assert kept.certified > 5


def test_streams_at_the_edge_keep_the_promise() -> None:
    """Every request just too often regretted: the worst that the promise is made for."""
    audits = [(0, number < 53) for number in range(1000)]
    kept = replayed(Promise(0.05, 0.1), audits, streams=100, seed=0)
    assert kept.violations <= kept.allowed(0.1)
    assert kept.certified == 0
