"""Figures of merit: of a predicted chance, and of a sweep from always cheap to always strong."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from app.gate.logistic import Array

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Sweep:
    """What each problem came to at each of several settings, cheapest first: (settings, problems).

    `right` is 0 or 1 or, where chance decides, its expectation; `cost` is in nano-dollars.
    """

    right: Array
    cost: Array


@dataclass(frozen=True, slots=True)
class Ends:
    """Both arms alone, a problem each: was it right, what did it cost."""

    cheap_right: Array
    strong_right: Array
    cheap_cost: Array
    strong_cost: Array


@dataclass(frozen=True, slots=True)
class Curve:
    """Share of the gap recovered, by cost as a share of always-strong's; both never fall.

    From always-cheap (0 of the gap) to always-strong (all of it, at 1); `cheap` is the former's
    cost. What a sweep recovers beyond the strong arm counts beyond 1.
    """

    cost: Array
    recovered: Array
    cheap: float

    def cost_to_recover(self, share: float) -> float:
        """The least cost at which so much is recovered, along straight lines between settings."""
        after = int(np.argmax(self.recovered >= share))
        if after == 0:
            return float(self.cost[0])
        low, high = self.recovered[after - 1], self.recovered[after]
        part = (share - low) / (high - low)
        return float(self.cost[after - 1] + part * (self.cost[after] - self.cost[after - 1]))

    def recovered_at(self, cost: float) -> float:
        """What is recovered for so much, along straight lines."""
        return float(np.interp(cost, self.cost, self.recovered))

    @property
    def apgr(self) -> float:
        """Mean share recovered, at most 1, over all costs from always-cheap's to always-strong's.

        After RouteLLM (arXiv 2406.18665), which averages over shares of strong calls instead.
        """
        costs = np.linspace(self.cheap, 1.0, 201)
        return float(np.minimum(np.interp(costs, self.cost, self.recovered), 1.0).mean())


def curve(sweep: Sweep, ends: Ends, weights: Array) -> Curve | None:
    """The curve with problems weighted so; None where the strong arm is no better.

    `weights` are how often each problem was drawn; all 1 for the plain curve.
    """
    total = weights.sum()
    low, high = ends.cheap_right @ weights / total, ends.strong_right @ weights / total
    if not high > low:
        return None
    unit = float(ends.strong_cost @ weights / total)
    cheap = float(ends.cheap_cost @ weights / total) / unit
    costs = sweep.cost @ weights / total / unit
    recovered = (sweep.right @ weights / total - low) / (high - low)
    costs = np.concatenate(((cheap,), costs, (1.0,)))
    recovered = np.concatenate(((0.0,), recovered, (1.0,)))
    order = np.lexsort((recovered, costs))
    return Curve(costs[order], np.maximum.accumulate(recovered[order]), cheap)


def auroc(scores: Array, labels: Array) -> float:
    """P(a right one scores above a wrong one), ties half; 0.5 with a single kind of label."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    right = float(labels.sum())
    wrong = len(labels) - right
    if not right or not wrong:
        return 0.5
    return float((ranks @ labels - right * (right + 1) / 2) / (right * wrong))


def calibration_error(chances: Array, labels: Array) -> float:
    """ECE over ten bins of equally many predictions."""
    bins = np.array_split(np.argsort(chances, kind="stable"), BINS)
    off = [abs(float((chances[rows] - labels[rows]).sum())) for rows in bins]
    return sum(off) / len(chances)
