"""What labels say of a head's chances, at three levels: a pair of arms, a category, a tenant's own.

Kept are sums, so an update is a few additions, their order does not matter, a label can be taken
back, and what every replica knows is what the database adds up to. A level moves a head's log-odds
from what the wider level says to what its own labels say, by n / (n + 50) of the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

from app.gate.heads import Heads, Model, OpinionHeads
from app.gate.logistic import Array
from app.gate.weights import DISTRUST, Weights, trust

HEADS: Final = (
    "cheap",
    "strong",
    "search",
    "agrees",
    "agreed.cheap",
    "agreed.strong",
    "differed.cheap",
    "differed.strong",
)
SMOOTHING: Final = 2.0
"""Labels of the expected kind that are imagined beside the real ones, so that no log is of 0."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """So many labels, how many were 1, and how many the shipped or refitted head expected."""

    labels: int = 0
    right: float = 0.0
    expected: float = 0.0

    def told(self, label: float, expected: float) -> "Evidence":
        """After one more label."""
        return Evidence(self.labels + 1, self.right + label, self.expected + expected)

    def untold(self, label: float, expected: float) -> "Evidence":
        """After taking one back that was told so."""
        if self.labels <= 1:
            return Evidence()  # and no rounding error is left
        return Evidence(self.labels - 1, self.right - label, self.expected - expected)

    def doubted(self) -> "Evidence":
        """After an alarm of drift: the same shares, from a quarter of the labels."""
        labels = self.labels // DISTRUST
        share = labels / self.labels if self.labels else 0.0
        return Evidence(labels, self.right * share, self.expected * share)

    @property
    def shift(self) -> float:
        """By how much the log-odds of what came exceed those of what was expected."""
        if not self.labels:
            return 0.0
        expected = min(max(self.expected / self.labels, 1e-3), 1 - 1e-3)
        came = (self.right + SMOOTHING * expected) / (self.labels + SMOOTHING)
        return _log_odds(came) - _log_odds(expected)


NONE: Final = Evidence()
Ledger = Mapping[str, Mapping[str, Evidence]]
"""By level and head."""


def offset(levels: Sequence[Evidence], *, start: float = 0.0) -> float:
    """What to add to a head's log-odds, from `start` on; `levels` from wide to narrow."""
    found = start
    for level in levels:
        found += trust(level.labels) * (level.shift - found)
    return found


def offsets(known: Ledger, levels: Sequence[str]) -> dict[str, float]:
    """Of every head that has labels at any of the levels.

    A head after an opinion starts from where the same arm's is without one: most labels are of
    problems for which no opinion was bought.
    """
    found: dict[str, float] = {}
    for head in HEADS:
        start = found.get(head.rpartition(".")[2]) if "." in head else None
        evidence = [known[level][head] for level in levels if head in known.get(level, {})]
        if evidence or start is not None:
            found[head] = offset(evidence, start=start or 0.0)
    return found


def shifted(model: Model, by: Mapping[str, float]) -> Model:
    """The model with its heads' constants moved; heads that are not named stay as they are."""
    if not by:
        return model
    opinions = {
        name: OpinionHeads(
            agrees=_moved(heads.agrees, by.get("agrees")),
            agreed=_moved_heads(heads.agreed, by, "agreed."),
            differed=_moved_heads(heads.differed, by, "differed."),
        )
        for name, heads in model.opinions.items()
    }
    return Model(
        version=model.version,
        scale=model.scale,
        heads=_moved_heads(model.heads, by, ""),
        opinions=opinions,
        strong_log_cost=model.strong_log_cost,
        strong_smear=model.strong_smear,
    )


def expected(
    model: Model, opinion: str, features: Array, groups: tuple[str, ...]
) -> dict[str, float]:
    """P(1) of every head that the model has, for one standardised vector."""
    chances = model.chances(features, groups)
    found = {"cheap": chances.cheap, "strong": chances.strong}
    if model.heads.search is not None:
        found["search"] = chances.search
    if opinion in model.opinions:
        outlook = model.outlook(opinion, features, groups)
        found |= {
            "agrees": outlook.agrees,
            "agreed.cheap": outlook.agreed.cheap,
            "agreed.strong": outlook.agreed.strong,
            "differed.cheap": outlook.differed.cheap,
            "differed.strong": outlook.differed.strong,
        }
    return found


def _moved_heads(heads: Heads, by: Mapping[str, float], prefix: str) -> Heads:
    search = heads.search
    return Heads(
        cheap=_moved(heads.cheap, by.get(f"{prefix}cheap")),
        strong=_moved(heads.strong, by.get(f"{prefix}strong")),
        search=None if search is None else _moved(search, by.get(f"{prefix}search")),
    )


def _moved(weights: Weights, by: float | None) -> Weights:
    if by is None:
        return weights
    shared = weights.shared.copy()
    shared[0] += by
    return Weights(shared, weights.additions, weights.labels)


def _log_odds(chance: float) -> float:
    return log(chance / (1 - chance))
