"""One head's weights at every level: shared by all, and what a category or a tenant adds to them.

A level's addition counts n / (n + 50) after n labels: a new category answers as all do, and one
with thousands of labels for itself. The same rule holds while fitting and while answering.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Final

import numpy as np

from app.gate.logistic import LOGIT_MAX, Array

HALF_TRUST: Final = 50
"""Labels after which half of what a level adds is believed."""
RATE: Final = 0.5
"""How far a first label moves the log-odds of its own vector, per unit of error."""
DISTRUST: Final = 4
"""An alarm of drift leaves this part of the evidence."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What a category or a tenant adds to the shared weights, and from how many labels."""

    weights: Array
    labels: int

    @property
    def trust(self) -> float:
        """The share of it that counts."""
        return trust(self.labels)


@dataclass(frozen=True, slots=True)
class Weights:
    """A head: shared weights, additions by group, and the labels that all of it rests on."""

    shared: Array
    additions: Mapping[str, Addition]
    labels: int

    def logit(self, features: Array, groups: Sequence[str]) -> float:
        """Bounded log-odds of a standardised vector; an unknown group adds nothing."""
        logit = float(features @ self.shared)
        for group in groups:
            if (addition := self.additions.get(group)) is not None:
                logit += addition.trust * float(features @ addition.weights)
        return max(-LOGIT_MAX, min(LOGIT_MAX, logit))

    def chance(self, features: Array, groups: Sequence[str]) -> float:
        """P(the label is 1)."""
        return 1 / (1 + exp(-self.logit(features, groups)))

    def learned(self, features: Array, groups: Sequence[str], *, label: float) -> "Weights":
        """After one more label: a normalised step on every level, smaller the more it knows."""
        error = label - self.chance(features, groups)
        length = 1 + float(features @ features)
        step = RATE * error / length * features
        additions = dict(self.additions)
        for group in groups:
            known = additions.get(group, Addition(np.zeros_like(self.shared), 0))
            pace = 1 - known.trust
            additions[group] = Addition(known.weights + pace * step, known.labels + 1)
        pace = 1 - trust(self.labels)
        return Weights(self.shared + pace * step, additions, self.labels + 1)

    def doubted(self) -> "Weights":
        """After an alarm of drift: the same weights, resting on a quarter of the evidence."""
        additions = {
            group: replace(addition, labels=addition.labels // DISTRUST)
            for group, addition in self.additions.items()
        }
        return Weights(self.shared, additions, self.labels // DISTRUST)


def trust(labels: int) -> float:
    """The share of a level that counts: n / (n + 50)."""
    return labels / (labels + HALF_TRUST)
