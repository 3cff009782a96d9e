"""The learned gate's heads: from what was observed to the chance that each arm is right.

Three heads (the cheap answer, a strong call, a search) on shared features, before a second opinion
and, for each opinion that can be bought, after it agreed and after it differed. Before one, a
chance is the mixture of what it would be after, so that an opinion never promises what its answers
cannot keep.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.gate.logistic import Array
from app.gate.signals import Signals, vector
from app.gate.weights import Weights

SPREAD_MAX: Final = 4.0
"""Standard deviations; further out a feature says no more than that."""
MANY_LABELS: Final = 400
"""Labels of both arms at which the learned gain counts as much as the cheap arm's doubt."""


@dataclass(frozen=True, slots=True)
class Chances:
    """P(right) of each arm; `search` is 0 where nothing was learned about searches."""

    cheap: float
    strong: float
    search: float

    def mixed(self, other: "Chances", share: float) -> "Chances":
        """`share` of these and the rest of the `other`'s."""
        rest = 1 - share
        return Chances(
            share * self.cheap + rest * other.cheap,
            share * self.strong + rest * other.strong,
            share * self.search + rest * other.search,
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """Centre and spread of every feature where the heads were fitted."""

    centre: Array
    spread: Array

    def standard(self, features: Array) -> Array:
        """Bounded and comparable; the first column stays the constant 1."""
        scaled: Array = (features - self.centre) / self.spread
        np.minimum(scaled, SPREAD_MAX, out=scaled)
        np.maximum(scaled, -SPREAD_MAX, out=scaled)
        scaled[..., 0] = 1.0
        return scaled


@dataclass(frozen=True, slots=True)
class Heads:
    """One weight vector an arm."""

    cheap: Weights
    strong: Weights
    search: Weights | None

    def chances(self, features: Array, groups: tuple[str, ...]) -> Chances:
        """Of a standardised vector."""
        return Chances(
            cheap=self.cheap.chance(features, groups),
            strong=self.strong.chance(features, groups),
            search=0.0 if self.search is None else self.search.chance(features, groups),
        )


@dataclass(frozen=True, slots=True)
class OpinionHeads:
    """P(it agrees), and the heads after it did and after it did not."""

    agrees: Weights
    agreed: Heads
    differed: Heads


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an opinion may change: `agrees` is the chance that it gives the same answer."""

    agrees: float
    agreed: Chances
    differed: Chances

    @property
    def now(self) -> Chances:
        """Before it is known."""
        return self.agreed.mixed(self.differed, self.agrees)


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that was learned for one pair of a cheap and a strong arm.

    `strong_log_cost` predicts the natural logarithm of what a strong call costs; `strong_smear` is
    what its exponential must be multiplied with to be right on average (Duan 1983).
    """

    version: str
    scale: Scale
    heads: Heads
    opinions: Mapping[str, OpinionHeads]
    strong_log_cost: Weights
    strong_smear: float

    def features(self, signals: Signals) -> Array:
        """The standardised vector of what was observed."""
        return self.scale.standard(vector(signals))

    def chances(self, features: Array, groups: tuple[str, ...]) -> Chances:
        """Without an opinion at hand or for sale."""
        return self.heads.chances(features, groups)

    def outlook(self, opinion: str, features: Array, groups: tuple[str, ...]) -> Outlook:
        """With `opinion` for sale."""
        known = self.opinions[opinion]
        return Outlook(
            agrees=known.agrees.chance(features, groups),
            agreed=known.agreed.chances(features, groups),
            differed=known.differed.chances(features, groups),
        )

    def strong_cost(self, features: Array, groups: tuple[str, ...]) -> float:
        """Expected, in the unit that it was fitted in."""
        log_cost = self.strong_log_cost.logit(features, groups)
        return float(np.exp(log_cost)) * self.strong_smear


def gain(chances: Chances, labels: int) -> float:
    """By how much a strong call is more likely right, given `labels` of problems with both arms.

    With few labels the difference of two heads is mostly noise, and the cheap arm's doubt ranks
    nearly as well: the two are weighted n / (n + 400).
    """
    weight = labels / (labels + MANY_LABELS)
    return weight * (chances.strong - chances.cheap) + (1 - weight) * (1 - chances.cheap)
