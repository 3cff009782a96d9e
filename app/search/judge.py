"""What answers are worth behind the scores of a judge that errs.

The best of many scores is likely to be luck. So a score is read as what the answer is worth plus a
normal error of known size, and drawn towards what was to be expected of it: the usual fresh answer
of its expert, or the usual step from what its parent is worth. That is a Kalman filter down every
lineage; what is usual is learned in passing, by moments. No answer is thought of twice.
"""

from dataclasses import dataclass, field
from typing import Final

from app.search.tree import ROOT, Node

FRESH: Final = (0.3, 0.15**2)
STEP: Final = (0.025, 0.06**2)
"""Mean and variance of fresh answers and of steps, before any were seen."""
WEIGHT: Final = 3.0
"""How many answers that prior counts as."""
VARIANCE_MIN: Final = 0.01
"""Answers vary at least by this share of the error's variance: never are all believed alike."""


@dataclass(slots=True)
class _Usual:
    """Mean and variance of what answers of one kind add to their parents' worth."""

    mean: float
    variance: float
    count: float = WEIGHT

    def learn(self, step: float, square: float) -> None:
        """From one more: its size, and the square of its deviation less what is error in that."""
        self.count += 1
        self.mean += (step - self.mean) / self.count
        self.variance += (square - self.variance) / self.count


@dataclass(slots=True)
class Judge:
    """Reads scores in order of telling; `noise` is the error's standard deviation, or 0."""

    noise: float
    worth: list[float] = field(default_factory=lambda: [0.0])
    """By node, what it is believed to be worth: a posterior mean; its score, without noise."""
    best: float = 0.0
    """The largest of these."""
    _doubt: list[float] = field(default_factory=lambda: [0.0])
    """By node, the variance of that belief."""
    _usual: dict[tuple[str, bool], _Usual] = field(default_factory=dict[tuple[str, bool], _Usual])

    def told(self, node: Node) -> None:
        """Count an answer."""
        worth = self._read(node) if self.noise else node.score
        self.worth.append(worth)
        self.best = max(self.best, worth)

    def _read(self, node: Node) -> float:
        is_fresh = node.parent == ROOT
        prior = _Usual(*(FRESH if is_fresh else STEP))
        usual = self._usual.setdefault((node.expert, is_fresh), prior)
        error, doubt = self.noise**2, self._doubt[node.parent]
        step = node.score - self.worth[node.parent]
        surprise = step - usual.mean
        before = doubt + max(usual.variance, VARIANCE_MIN * error)
        trust = before / (before + error)
        self._doubt.append(trust * error)
        usual.learn(step, surprise**2 - doubt - error)
        return min(1.0, max(0.0, node.score - (1 - trust) * surprise))
