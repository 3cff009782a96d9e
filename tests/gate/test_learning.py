"""What is learned from labels: fits, levels, calibration, drift."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.calibration import IDENTITY, Calibration, calibrated
from app.gate.drift import Cusum, brier_residual
from app.gate.fitting import Example, fit_model
from app.gate.heads import gain
from app.gate.logistic import fit_linear, fit_logistic, probability
from app.gate.signals import NAMES
from app.gate.weights import Addition, Weights

RNG_SEED = 7


def examples(count: int) -> list[Example]:
    """Easy and hard problems; an opinion agrees mostly where the cheap arm is right."""
    rng = np.random.default_rng(RNG_SEED)
    found: list[Example] = []
    for _ in range(count):
        features = np.zeros(len(NAMES))
        features[0], features[3] = 1.0, rng.standard_normal()
        hard = bool(rng.random() < 0.5)
        right = bool(rng.random() < (0.2 if hard else 0.9))
        found.append(
            Example(
                features=features,
                groups=("hard" if hard else "easy",),
                cheap_right=float(right),
                strong_right=float(rng.random() < 0.8),
                strong_cost=float(np.exp(3 + features[3] + 0.1 * rng.standard_normal())),
                agreed={"second": bool(rng.random() < (0.8 if right else 0.2))},
            )
        )
    return found


def test_newton_finds_where_the_slope_is_zero() -> None:
    """The penalised likelihood has one top; separable labels have one too."""
    rng = np.random.default_rng(RNG_SEED)
    features = rng.standard_normal((300, 4))
    for labels in ((features[:, 0] > 0).astype(float), rng.integers(0, 2, 300).astype(float)):
        precision = np.full(4, 0.5)
        weights = fit_logistic(features, labels, precision)
        slope = features.T @ (probability(features @ weights) - labels) + precision * weights
        assert np.abs(slope).max() < 1e-3


def test_column_that_is_never_observed_gets_no_weight() -> None:
    """Logprobs that no provider gives must not make the fit singular."""
    features = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert fit_logistic(features, np.array([1.0, 0.0, 1.0]), np.zeros(2))[1] == 0
    fitted = fit_linear(features, np.array([2.0, 2.0, 2.0]), np.zeros(2))
    assert fitted == pytest.approx([2, 0], abs=1e-4)


def test_model_knows_categories_opinions_and_costs() -> None:
    """As the problems were made."""
    found = fit_model(examples(2000), version="test")
    features = np.zeros(len(NAMES))
    features[0] = 1.0
    hard, easy = (found.chances(features, (group,)).cheap for group in ("hard", "easy"))
    assert hard == pytest.approx(0.2, abs=0.05)
    assert easy == pytest.approx(0.9, abs=0.05)
    outlook = found.outlook("second", features, ("hard",))
    assert outlook.differed.cheap < 0.1
    assert outlook.agreed.cheap > 0.4
    assert outlook.now.cheap == pytest.approx(hard, abs=0.05)
    assert found.strong_cost(features, ()) == pytest.approx(np.exp(3), rel=0.2)
    assert gain(outlook.differed, 10**6) > gain(outlook.agreed, 10**6)


def test_same_examples_give_the_same_model() -> None:
    """To the last bit."""
    first, second = (fit_model(examples(200), version="test") for _ in range(2))
    assert first.heads.cheap.shared.tolist() == second.heads.cheap.shared.tolist()


def test_group_counts_by_its_labels() -> None:
    """An unknown one adds nothing, one of fifty labels half of what it says."""
    weights = Weights(np.array([1.0]), {"known": Addition(np.array([2.0]), 50)}, labels=0)
    one = np.ones(1)
    assert weights.logit(one, ["unknown"]) == 1.0
    assert weights.logit(one, ["known"]) == 2.0
    assert weights.doubted().logit(one, ["known"]) == 1.0 + 2 * 12 / 62


def test_online_labels_lead_to_the_truth() -> None:
    """For the groups that they are of, and their order hardly matters."""
    rng = Random(RNG_SEED)
    weights = Weights(np.zeros(2), {}, labels=0)
    for _ in range(4000):
        group = rng.choice(["good", "bad"])
        label = float(rng.random() < (0.9 if group == "good" else 0.3))
        weights = weights.learned(np.array([1.0, 0.0]), (group,), label=label)
    logits = np.array([weights.logit(np.array([1.0, 0.0]), (group,)) for group in ("good", "bad")])
    assert probability(logits) == pytest.approx([0.9, 0.3], abs=0.1)
    assert weights.labels == 4000


@given(st.floats(0.2, 3), st.floats(-1, 1), st.integers(50, 800))
def test_calibration_undoes_a_distortion(slope: float, shift: float, count: int) -> None:
    """And keeps the order of any two chances."""
    rng = np.random.default_rng(RNG_SEED)
    logits = 2 * rng.standard_normal(count)
    labels = (rng.random(count) < probability(logits)).astype(float)
    told = probability(slope * logits + shift)
    applied = calibrated(told, labels).applied(told)
    assert abs(float((applied - labels).mean())) < 0.02
    order = np.argsort(told)
    assert (np.diff(applied[order]) >= -1e-12).all()


def test_labels_of_one_kind_calibrate_nothing() -> None:
    """They cannot tell how often the other kind comes."""
    chances = np.array([0.2, 0.9])
    assert calibrated(chances, np.ones(2)) is IDENTITY
    assert IDENTITY.applied(chances) == pytest.approx(chances)
    assert Calibration(1, 1, 0).applied(np.array([0.0, 1.0])) == pytest.approx([0, 1], abs=1e-8)


def test_drift_alarms_soon_and_not_for_nothing() -> None:
    """A fair coin's 2,000 residuals raise none; a chance that moved by 0.2 does within 200."""
    rng = Random(RNG_SEED)
    watch = Cusum()
    for _ in range(2000):
        watch = watch.told((rng.random() < 0.7) - 0.7)
        assert not watch.alarms
    told = 0
    while not watch.alarms:
        watch = watch.told((rng.random() < 0.5) - 0.7)
        told += 1
    assert told < 200


def test_residual_that_is_no_number_tells_nothing() -> None:
    """It must neither raise an alarm nor silence one."""
    assert Cusum(above=1.0).told(float("nan")) == Cusum(above=1.0)


@given(st.floats(0, 1))
def test_brier_residual_is_zero_on_average(chance: float) -> None:
    """Where the chance holds."""
    right = brier_residual(chance=chance, right=True)
    wrong = brier_residual(chance=chance, right=False)
    assert chance * right + (1 - chance) * wrong == pytest.approx(0, abs=1e-12)
