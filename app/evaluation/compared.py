"""Figures of a comparison: every arm on the same tasks, with paired bootstrap intervals.

Tasks are drawn with replacement, 2,000 times from a seed, the same draws for every arm; a task's
seeds are averaged first, because they are not independent of one another. Intervals hold 95 %.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from app.evaluation.figures import BINS, calibration_error
from app.evaluation.results import Result
from app.evaluation.strategies import STRONG, ArmId
from app.gate.logistic import Array
from app.money import NANO_PER_USD, from_usd

Json = dict[str, Any]
DRAWS: Final = 2000
LOW, HIGH = 2.5, 97.5
ENOUGH: Final = 20
"""Predictions below which a calibration curve tells nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One arm, a value a task, in the order of the tasks. `right` and `score` may be NaN."""

    strategy: str
    budget: str
    results: Sequence[Result]
    right: Array
    score: Array
    cost: Array
    tokens: Array
    calls: Array


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each task was drawn: (draws, tasks)."""

    weights: Array

    def mean(self, values: Array) -> Array:
        """The mean of each draw, of the tasks that have a value; NaN where none drawn has."""
        known = ~np.isnan(values)
        total = self.weights @ known
        with np.errstate(invalid="ignore"):
            means: Array = (self.weights @ np.where(known, values, 0.0)) / total
        return means


def finished(
    results: Iterable[Result], arms: Sequence[ArmId], *, seeds: int
) -> Mapping[ArmId, Measured]:
    """Each of the arms, on the tasks that all of them have done with every seed."""
    done: dict[str, dict[ArmId, list[Result]]] = {}
    for result in results:
        done.setdefault(result.task, {}).setdefault(result.arm, []).append(result)
    tasks = [rows for rows in done.values() if all(len(rows.get(arm, ())) >= seeds for arm in arms)]
    return {arm: _measured([rows[arm] for rows in tasks]) for arm in arms if tasks}


def report(arms: Mapping[ArmId, Measured], *, baseline: str, seed: int) -> Json:
    """The figures of every arm; differences are to the strategy `baseline` under the same bound."""
    tasks = len(next(iter(arms.values())).right)
    rng = np.random.default_rng(seed)
    draws = Draws(rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=DRAWS).astype(float))
    best = {arm.budget: arm for arm in arms.values() if arm.strategy == baseline}
    strong = {arm.budget: arm for arm in arms.values() if _is_strong(arm.strategy)}
    return {
        "tasks": tasks,
        "draws": DRAWS,
        "interval": 0.95,
        "baseline": baseline,
        "arms": [
            _figures(arm, draws, best.get(arm.budget), strong.get(arm.budget))
            for arm in arms.values()
        ],
    }


def _is_strong(strategy: str) -> bool:
    return strategy.partition("@")[0].partition(":")[0] == STRONG


def _measured(tasks: Sequence[Sequence[Result]]) -> Measured:
    first = tasks[0][0]
    return Measured(
        strategy=first.strategy,
        budget=first.budget,
        results=[result for rows in tasks for result in rows],
        right=_means([[_number(row.right) for row in rows] for rows in tasks]),
        score=_means([[_number(row.score) for row in rows] for rows in tasks]),
        cost=_means([[from_usd(row.cost_usd) / NANO_PER_USD for row in rows] for rows in tasks]),
        tokens=_means([[float(row.tokens) for row in rows] for rows in tasks]),
        calls=_means([[float(row.calls) for row in rows] for rows in tasks]),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _means(rows: Sequence[Sequence[float]]) -> Array:
    """A mean a task, of the seeds that have a value."""
    known = [[value for value in row if value == value] for row in rows]  # noqa: PLR0124 - not NaN
    return np.array([sum(row) / len(row) if row else float("nan") for row in known])


def _figures(arm: Measured, draws: Draws, base: Measured | None, strong: Measured | None) -> Json:
    latencies = np.array([result.latency_ms for result in arm.results])
    figures: Json = {
        "strategy": arm.strategy,
        "budget": arm.budget,
        "accuracy": _interval(arm.right, draws),
        "score": _interval(arm.score, draws),
        "cost_usd": _interval(arm.cost, draws),
        "tokens": _interval(arm.tokens, draws),
        "calls": _interval(arm.calls, draws),
        "latency_ms": {
            "p50": float(np.percentile(latencies, 50)),
            "p95": float(np.percentile(latencies, 95)),
        },
        "ungraded": int(np.isnan(arm.right).sum()),
        "statuses": dict(Counter(result.status for result in arm.results)),
        "routes": dict(Counter(result.route for result in arm.results if result.route)),
        "calibration": _calibration(arm.results),
        "categories": _categories(arm),
    }
    if base is not None and base is not arm:
        figures["to_baseline"] = {
            "accuracy": _interval(arm.right - base.right, draws),
            "cost_usd": _interval(arm.cost - base.cost, draws),
        }
    if base is not None and strong is not None and arm is not base and arm is not strong:
        figures["to_mixing"] = _to_mixing(arm, base, strong, draws)
    return figures


def _interval(values: Array, draws: Draws) -> Json:
    if np.isnan(values).all():
        return {"value": None, "low": None, "high": None}
    return _summary(float(np.nanmean(values)), draws.mean(values))


def _summary(value: float, drawn: Array) -> Json:
    low, high = np.nanpercentile(drawn, (LOW, HIGH))
    return {"value": value, "low": float(low), "high": float(high)}


def _to_mixing(arm: Measured, base: Measured, strong: Measured, draws: Draws) -> Json | None:
    """Accuracy above that of a coin between the baseline and one strong call, at equal dollars."""
    known = ~np.isnan(arm.right + base.right + strong.right)
    if not known.any():
        return None

    def above(mean: Callable[[Array], Array]) -> Array:
        cheap, dear = mean(base.cost), mean(strong.cost)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(dear > cheap, (mean(arm.cost) - cheap) / (dear - cheap), 1.0)
        share = np.clip(share, 0, 1)
        mixed = (1 - share) * mean(base.right) + share * mean(strong.right)
        return np.asarray(mean(arm.right) - mixed, dtype=np.float64)

    def plain(values: Array) -> Array:
        return np.asarray(np.mean(values[known]), dtype=np.float64)

    def drawn(values: Array) -> Array:
        return draws.mean(np.where(known, values, np.nan))

    return _summary(float(above(plain)), above(drawn))


def _calibration(results: Sequence[Result]) -> Json | None:
    """The reported chances against what came true, in bins of equally many."""
    told = sorted(
        (result.chance, float(result.right))
        for result in results
        if result.chance is not None and result.right is not None
    )
    if len(told) < ENOUGH:
        return None
    chances, right = np.array(told).T
    bins = np.array_split(np.arange(len(told)), BINS)
    return {
        "n": len(told),
        "ece": calibration_error(chances, right),
        "bins": [
            {"told": float(chances[rows].mean()), "right": float(right[rows].mean())}
            for rows in bins
        ],
    }


def _categories(arm: Measured) -> Json:
    """Tasks graded and the mean of `right`, by category."""
    rows: dict[str, list[float]] = {}
    seeds = len(arm.results) // len(arm.right)
    for place, right in enumerate(arm.right):
        if not np.isnan(right):
            rows.setdefault(arm.results[place * seeds].category, []).append(float(right))
    return {
        name: {"tasks": len(values), "accuracy": sum(values) / len(values)}
        for name, values in sorted(rows.items())
    }
