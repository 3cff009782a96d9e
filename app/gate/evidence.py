"""What labels say of a head's chances, at three levels: a pair of arms, a category, a tenant's own.

Kept are sums, so an update is a few additions, their order does not matter, a label can be taken
back, and what every replica knows is what the database adds up to. A level moves a head's log-odds
from what the wider level says to what its own labels say, by n / (n + 50) of the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

from app.gate.weights import DISTRUST, trust

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

    def joined(self, other: "Evidence") -> "Evidence":
        """With the labels of another, too."""
        return Evidence(
            self.labels + other.labels, self.right + other.right, self.expected + other.expected
        )

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


def _log_odds(chance: float) -> float:
    return log(chance / (1 - chance))
