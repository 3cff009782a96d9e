"""Is a search worth beginning? Judged where a verifier is exact and every rung was recorded.

The search asks one model after the other, from cheap to strong, until the verifier is content.
Once the cheapest has failed, the gate may leave it at that: where P(search solves) times the price
of an error is less than what the rest is expected to cost. A model whose vendor hides its reasoning
has no cost on record and is no rung.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import InvalidRequest
from app.evaluation.figures import auroc
from app.evaluation.recorded import Row, cost_of, read_rows, signals_of
from app.evaluation.split import folds_of
from app.gate.fitting import Example, fit_model
from app.gate.logistic import Array
from app.gate.signals import vector

FILES: Final = "rg"
LEVEL: Final = "easy"
KEPT: Final = 0.95
"""Of always-search's accuracy."""
RESAMPLES: Final = 200
Figures = dict[str, object]


@dataclass(frozen=True, slots=True)
class Climb:
    """One problem: was the first answer right, was any, and what did either cost (nano-dollars)."""

    problem_id: str
    features: Array
    groups: tuple[str, ...]
    first_right: bool
    solved: bool
    first_cost: float
    rest_cost: float


def read_climbs(folder: Path) -> list[Climb]:
    """The problems that every rung answered, by id. Raises InvalidRequest as `read_pair` does."""
    try:
        prices = json.loads((folder / "prices.json").read_text("utf-8"))
        return climbs(read_rows(folder / f"{FILES}_samples.parquet"), prices)
    except FileNotFoundError as error:
        raise InvalidRequest("data", f"there is no {error.filename}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest("data", f"search: not as described: {error!r}") from None


def climbs(rows: Sequence[Row], prices: Mapping[str, Sequence[float]]) -> list[Climb]:
    """As `read_climbs`, from rows."""
    samples: dict[str, dict[str, Row]] = defaultdict(dict)
    hidden: set[str] = set()
    for row in rows:
        if row["level"] == LEVEL and row["sample_idx"] == 0:
            samples[row["problem_id"]][row["model"]] = row
            if row["hidden_reasoning"]:
                hidden.add(row["model"])
    models = {model for of_problem in samples.values() for model in of_problem} - hidden
    rungs = sorted(models, key=lambda model: (sum(prices[model]), model))
    return [
        _climb(problem, [samples[problem][model] for model in rungs], prices)
        for problem in sorted(samples)
        if models <= samples[problem].keys()
    ]


def _climb(problem_id: str, rows: Sequence[Row], prices: Mapping[str, Sequence[float]]) -> Climb:
    right = next((place for place, row in enumerate(rows) if row["correct"]), None)
    asked = rows if right is None else rows[: right + 1]
    signals = signals_of(rows[0])
    return Climb(
        problem_id=problem_id,
        features=vector(signals),
        groups=signals.groups,
        first_right=right == 0,
        solved=right is not None,
        first_cost=cost_of(rows[0], prices),
        rest_cost=sum(cost_of(row, prices) for row in asked[1:]),
    )


@dataclass(frozen=True, slots=True)
class _Forecast:
    """Of each climb: P(a search solves it), and what that is expected to cost."""

    chance: Array
    cost: Array


def judge_climbs_by_folds(found: Sequence[Climb], *, seeds: int) -> Figures:
    """Five folds by problem, so often; the means over the seeds."""
    forecasts: list[_Forecast] = []
    for seed in range(seeds):
        known = _Forecast(np.zeros(len(found)), np.zeros(len(found)))
        for fitted, judged in folds_of([one.problem_id for one in found], seed):
            made = _forecast([found[i] for i in fitted], [found[i] for i in judged])
            known.chance[judged], known.cost[judged] = made.chance, made.cost
        forecasts.append(known)
    return _figures(found, forecasts)


def judge_climbs_apart(fitted: Sequence[Climb], judged: Sequence[Climb]) -> Figures:
    """Fitted on one set of problems, judged on another."""
    return _figures(judged, [_forecast(fitted, judged)])


def search_examples(found: Sequence[Climb]) -> list[Example]:
    """What teaches P(search solves): climbs whose first answer failed. No other arm's outcome."""
    return [
        Example(
            features=one.features,
            groups=one.groups,
            cheap_right=0.0,
            strong_right=float("nan"),
            strong_cost=max(one.rest_cost, 1.0),
            agreed={},
            search_right=float(one.solved),
        )
        for one in found
        if not one.first_right
    ]


def _forecast(fitted: Sequence[Climb], judged: Sequence[Climb]) -> _Forecast:
    # What a search costs stands where a strong call's cost does: the same regression of logarithms.
    model = fit_model(search_examples(fitted), version="search")
    chances, costs = np.zeros(len(judged)), np.zeros(len(judged))
    for place, one in enumerate(judged):
        features = model.scale.standard(one.features)
        chances[place] = model.chances(features, one.groups).search
        costs[place] = model.strong_cost(features, one.groups)
    return _Forecast(chances, costs)


def _figures(found: Sequence[Climb], forecasts: Sequence[_Forecast]) -> Figures:
    everyone = np.ones(len(found))
    shares = [_cost_to_keep(found, made, everyone) for made in forecasts]
    rng, draws = np.random.default_rng(0), [0.0] * RESAMPLES
    for place in range(RESAMPLES):
        drawn = np.bincount(rng.integers(len(found), size=len(found)), minlength=len(found))
        draws[place] = _cost_to_keep(found, forecasts[0], drawn.astype(np.float64))
    low, high = np.percentile(draws, (5, 95))
    failed = np.array([not one.first_right for one in found])
    solved = np.array([float(one.solved) for one in found])
    always = sum(one.first_cost + one.rest_cost for one in found)
    return {
        "cost_to_keep_95": {
            "value": float(np.mean(shares)), "low": float(low), "high": float(high),
        },
        "auroc": float(np.mean([auroc(one.chance[failed], solved[failed]) for one in forecasts])),
        "problems": len(found),
        "seeds": len(forecasts),
        "first_accuracy": float(1 - failed.mean()),
        "search_accuracy": float(solved.mean()),
        "first_cost": sum(one.first_cost for one in found) / always,
    }  # fmt: skip


def _cost_to_keep(found: Sequence[Climb], made: _Forecast, weights: Array) -> float:
    """Share of always-search's cost at the least price of an error that keeps so much accuracy."""
    first = np.array([float(one.first_right) for one in found])
    solved = np.array([float(one.solved) for one in found])
    first_cost = np.array([one.first_cost for one in found])
    rest_cost = np.array([one.rest_cost for one in found])
    # A price of an error begins the searches whose chance a dollar is above its inverse.
    order = np.argsort(-np.where(first > 0, np.inf, made.chance / made.cost), kind="stable")
    right = np.cumsum((weights * np.maximum(first, solved))[order])
    cost = float(weights @ first_cost) + np.cumsum((weights * rest_cost)[order])
    kept = int(np.argmax(right >= KEPT * right[-1]))
    return float(cost[kept] / cost[-1])
