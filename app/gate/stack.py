"""A model's heads as one matrix: all chances of a problem from one product.

Eight heads one after the other cost a request four times as much. Groups only add constants, which
is how they are fitted; what labels have moved since is added to the log-odds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import Final

import numpy as np

from app.gate.heads import Chances, Heads, Model, Outlook, Scale
from app.gate.logistic import LOGIT_MAX, Array
from app.gate.signals import Signals, vector
from app.gate.weights import Weights

SECOND: Final = "second"
"""The opinion that a policy has."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of the arms now, and of an opinion, where there is one to be had."""

    chances: Chances
    outlook: Outlook | None

    @property
    def now(self) -> Chances:
        """With the opinion for sale; without, where there is none."""
        return self.chances if self.outlook is None else self.outlook.now


@dataclass(frozen=True, slots=True)
class Stack:
    """Weights ready for requests. `adds` is by group, in the order of `names`."""

    version: str
    scale: Scale
    names: tuple[str, ...]
    matrix: Array
    adds: Mapping[str, tuple[float, ...]]
    labels: int

    @staticmethod
    def of(model: Model) -> "Stack":
        """From a model as it was fitted or read."""
        heads = _heads(model.heads, "")
        if (opinion := model.opinions.get(SECOND)) is not None:
            heads |= {"agrees": opinion.agrees}
            heads |= _heads(opinion.agreed, "agreed.") | _heads(opinion.differed, "differed.")
        groups = {group for weights in heads.values() for group in weights.additions}
        return Stack(
            version=model.version,
            scale=model.scale,
            names=tuple(heads),
            matrix=np.array([weights.shared for weights in heads.values()]),
            adds={
                group: tuple(_added(weights, group) for weights in heads.values())
                for group in groups
            },
            labels=model.heads.cheap.labels,
        )

    def features(self, signals: Signals) -> Array:
        """The standardised vector of what was observed."""
        return self.scale.standard(vector(signals))

    def average(self) -> Array:
        """The standardised vector of a problem of which nothing was observed yet."""
        found = np.zeros_like(self.scale.centre)
        found[0] = 1.0
        return found

    def expected(
        self, features: Array, group: str | None, moved: Mapping[str, float]
    ) -> dict[str, float]:
        """P(1) by head; `moved` is what to add to their log-odds."""
        logits: list[float] = (self.matrix @ features).tolist()
        if group is not None and (adds := self.adds.get(group)) is not None:
            logits = [logit + added for logit, added in zip(logits, adds, strict=True)]
        return {
            name: _chance(logit + moved.get(name, 0.0))
            for name, logit in zip(self.names, logits, strict=True)
        }

    def forecast(self, features: Array, group: str | None, moved: Mapping[str, float]) -> Forecast:
        """The same, as the rule takes it."""
        found = self.expected(features, group, moved)
        chances = Chances(found["cheap"], found["strong"], found.get("search", 0.0))
        if "agrees" not in found:
            return Forecast(chances, None)
        outlook = Outlook(
            found["agrees"],
            agreed=Chances(found["agreed.cheap"], found["agreed.strong"], 0.0),
            differed=Chances(found["differed.cheap"], found["differed.strong"], 0.0),
        )
        return Forecast(chances, outlook)


def _heads(heads: Heads, prefix: str) -> dict[str, Weights]:
    found = {f"{prefix}cheap": heads.cheap, f"{prefix}strong": heads.strong}
    if heads.search is not None:
        found[f"{prefix}search"] = heads.search
    return found


def _added(weights: Weights, group: str) -> float:
    known = weights.additions.get(group)
    return 0.0 if known is None else known.trust * float(known.weights[0])


def _chance(logit: float) -> float:
    return 1 / (1 + exp(-max(-LOGIT_MAX, min(LOGIT_MAX, logit))))
