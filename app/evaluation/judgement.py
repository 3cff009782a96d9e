"""One pair's judgement: the gate and its rivals by the same figures, and negative controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np

from app.evaluation import rivals
from app.evaluation.figures import Curve, Ends, Sweep, auroc, calibration_error, curve
from app.evaluation.recorded import Recording
from app.evaluation.replay import Forecast, Played, ends, forecasts, play
from app.evaluation.split import FOLDS, Leak, check_split, folds
from app.evaluation.streams import replayed
from app.gate.certificate import Promise
from app.gate.logistic import Array

SHARES: Final = (50, 80, 95)
"""Percent of the gap."""
CAPS: Final = (2, 3, 4, 6)
"""Times the cost of always-cheap."""
RESAMPLES: Final = 200
LOW, HIGH = 5, 95
"""Percentiles: a 90 % interval."""
PROMISE: Final = Promise(epsilon=0.05, delta=0.1)
STREAMS: Final = 200
THRESHOLDS: Final = 6
SHUFFLES: Final = 3
"""One is not enough: problems of a task are alike, so noise fitted to tasks may rank by luck."""

T = TypeVar("T")
Figures = dict[str, object]


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of a pair, and the curves to be drawn by policy."""

    figures: Figures
    curves: Mapping[str, Curve]


@dataclass(frozen=True, slots=True)
class _Run:
    """One seed: every problem forecast by a model that did not know it."""

    recordings: Sequence[Recording]
    known: Sequence[Forecast]
    played: Played

    @property
    def chances(self) -> Array:
        """P(cheap right) before any opinion."""
        return np.array([forecast.chances.cheap for forecast in self.known])

    def chances_after(self) -> Array:
        """P(cheap right) once the first opinion for sale, if any, is known."""
        return np.array(list(map(_after_opinion, self.recordings, self.known)))


def judge_by_folds(recordings: Sequence[Recording], *, seeds: int) -> Judged:
    """Five folds by problem, so often; figures are means over the seeds. Raises Leak."""
    runs = [_cross_fitted(recordings, seed) for seed in range(seeds)]
    noise = [_cross_fitted_on_noise(recordings, seed) for seed in range(SHUFFLES)]
    return _judged(recordings, runs, noise)


def judge_apart(fitted: Sequence[Recording], judged: Sequence[Recording]) -> Judged:
    """Fitted on one set of problems, judged on another. Raises Leak where they overlap."""
    run = _run(judged, forecasts(fitted, judged))
    noise = [forecasts(_shuffled(fitted, seed), judged) for seed in range(SHUFFLES)]
    return _judged(judged, [run], noise)


def _cross_fitted(recordings: Sequence[Recording], seed: int) -> _Run:
    known: dict[int, Forecast] = {}
    for fitted, judged in folds(recordings, seed):
        found = forecasts([recordings[i] for i in fitted], [recordings[i] for i in judged])
        known.update(zip(judged, found, strict=True))
    return _run(recordings, [known[index] for index in range(len(recordings))])


def _cross_fitted_on_noise(recordings: Sequence[Recording], seed: int) -> list[Forecast]:
    known: dict[int, Forecast] = {}
    for fold, (fitted, judged) in enumerate(folds(recordings, seed)):
        noise = _shuffled([recordings[i] for i in fitted], seed * FOLDS + fold)
        known.update(zip(judged, forecasts(noise, [recordings[i] for i in judged]), strict=True))
    return [known[index] for index in range(len(recordings))]


def _shuffled(recordings: Sequence[Recording], seed: int) -> list[Recording]:
    labels = [one.example.cheap_right for one in recordings]
    shuffled = np.random.default_rng(seed).permutation(labels)
    return [
        replace(one, example=replace(one.example, cheap_right=float(label)))
        for one, label in zip(recordings, shuffled, strict=True)
    ]


def _run(recordings: Sequence[Recording], known: Sequence[Forecast]) -> _Run:
    return _Run(recordings, known, play(recordings, known))


def _judged(
    recordings: Sequence[Recording], runs: Sequence[_Run], noise: Sequence[Sequence[Forecast]]
) -> Judged:
    both = ends(recordings)
    opinion = next(name for one in recordings for name in one.opinion_costs)
    policies: dict[str, list[Sweep]] = {
        "gate": [run.played.sweep for run in runs],
        "random mixing": [rivals.random_mixing(both)],
        "P(cheap right)": [rivals.ranked(both, run.chances) for run in runs],
        "agreement": [rivals.agreement(both, recordings, opinion)],
        "oracle": [rivals.oracle(both)],
    }
    measured = {name: _measured(sweeps, both) for name, sweeps in policies.items()}
    labels = both.cheap_right
    blind = [
        auroc(np.array([forecast.chances.cheap for forecast in known]), labels) for known in noise
    ]
    figures: Figures = {
        **measured.pop("gate"),
        "auroc": _mean(runs, lambda run: auroc(run.chances, labels)),
        "auroc_after_opinion": _mean(runs, lambda run: auroc(run.chances_after(), labels)),
        "ece": _mean(runs, lambda run: calibration_error(run.chances, labels)),
        "certificate_violations": _violations(both, runs[0]),
        "problems": len(recordings),
        "seeds": len(runs),
        "cheap_accuracy": float(labels.mean()),
        "strong_accuracy": float(both.strong_right.mean()),
        "cheap_cost": float(both.cheap_cost.mean() / both.strong_cost.mean()),
        "rivals": measured,
        "controls": {
            "shuffled_labels_auroc": float(np.mean(blind)),
            "leaked_label_caught": _leak_is_caught(recordings),
        },
    }
    everyone = np.ones(len(recordings))
    drawn = {name: curve(sweeps[0], both, everyone) for name, sweeps in policies.items()}
    return Judged(figures, {name: line for name, line in drawn.items() if line is not None})


def _measured(sweeps: Sequence[Sweep], both: Ends) -> Figures:
    """Means over the sweeps of seeds; intervals by resampling the problems."""
    everyone = np.ones(len(both.cheap_right))
    plain = _curves(sweeps, both, everyone)
    if not plain:
        return {"no_gap": "the strong arm is not better: there is nothing to recover"}
    rng = np.random.default_rng(0)
    draws: list[list[float]] = []
    for _ in range(RESAMPLES):
        weights = np.bincount(
            rng.integers(len(everyone), size=len(everyone)), minlength=len(everyone)
        ).astype(np.float64)
        if resampled := _curves(sweeps, both, weights):
            draws.append(_costs(resampled))
    low, high = np.percentile(np.array(draws), (LOW, HIGH), axis=0)
    return {
        "cost_to_recover": {
            str(share): {"value": value, "low": float(low[place]), "high": float(high[place])}
            for place, (share, value) in enumerate(zip(SHARES, _costs(plain), strict=True))
        },
        "gap_recovered_at": {
            str(cap): float(np.mean([line.recovered_at(cap * line.cheap) for line in plain]))
            for cap in CAPS
        },
        "apgr": _mean(plain, lambda line: line.apgr),
    }


def _curves(sweeps: Sequence[Sweep], both: Ends, weights: Array) -> list[Curve]:
    found = [curve(sweep, both, weights) for sweep in sweeps]
    return [line for line in found if line is not None]


def _costs(lines: Sequence[Curve]) -> list[float]:
    found = [[line.cost_to_recover(share / 100) for share in SHARES] for line in lines]
    return [float(cost) for cost in np.mean(found, axis=0)]


def _violations(both: Ends, run: _Run) -> float:
    """Share of audit streams on which a threshold of V was certified that was not what it said."""
    escalated = run.played.escalated
    careful_first = np.linspace(len(escalated) - 1, 0, THRESHOLDS).astype(np.intp)
    failed = (both.strong_right > both.cheap_right).tolist()
    audits = [
        (int(np.argmin(column)), regretted)
        for column, regretted in zip(escalated[careful_first].T, failed, strict=True)
        if not column.all()
    ]
    return replayed(PROMISE, audits, streams=STREAMS, seed=0).violations if audits else 0.0


def _leak_is_caught(recordings: Sequence[Recording]) -> bool:
    """A problem on both sides, and a label among the features, must both be refused."""

    def told(one: Recording) -> Recording:
        features = one.example.features.copy()
        features[-1] = one.example.cheap_right
        return replace(one, example=replace(one.example, features=features))

    first, second = recordings[::2], recordings[1::2]
    leaks = (([*first, second[0]], second), ([told(one) for one in first], second))
    return all(_refused(fitted, judged) for fitted, judged in leaks)


def _refused(fitted: Sequence[Recording], judged: Sequence[Recording]) -> bool:
    try:
        check_split(fitted, judged)
    except Leak:
        return True
    return False


def _after_opinion(one: Recording, forecast: Forecast) -> float:
    for name, (outlook, _) in forecast.outlooks.items():
        return (outlook.agreed if one.example.agreed[name] else outlook.differed).cheap
    return forecast.chances.cheap


def _mean(things: Sequence[T], figure: Callable[[T], float]) -> float:
    return float(np.mean([figure(thing) for thing in things]))
