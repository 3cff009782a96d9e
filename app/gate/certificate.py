"""A promise about accepted answers, and when it may be made.

The regret is P(the answer was wrong and the alternative right | accepted and audited). A threshold
is certified at epsilon with confidence 1 - delta when so few failures among its audits would be
unlikely were the regret above epsilon: Learn then Test (Angelopoulos et al. 2021, arXiv 2110.01052)
with exact binomial tails, thresholds in a fixed sequence from the most careful on.

Looking after every audit would certify a false claim far more often than delta. So there are looks
only after n0 * 2^k audits, each with delta / 2^(k+1): together no more than delta.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, lgamma, log, log1p
from typing import Final

from app.errors import InvalidRequest

HALVINGS: Final = 60
"""Bisections; a bound is exact to 1e-18."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Audits of accepted answers at one threshold, and how many of them were regretted."""

    audits: int = 0
    failures: int = 0

    def audited(self, *, failed: bool) -> "Tally":
        """With one audit more."""
        return Tally(self.audits + 1, self.failures + failed)


@dataclass(frozen=True, slots=True)
class Promise:
    """Regret at most `epsilon`, with confidence 1 - `delta`.

    Raises InvalidRequest for what no audit could ever show.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        for name, share in (("epsilon", self.epsilon), ("delta", self.delta)):
            if not 0 < share < 1:
                raise InvalidRequest(name, "must lie between 0 and 1, both excluded")

    @property
    def first_look(self) -> int:
        """n0: twice the audits that one look without a failure would need."""
        return ceil(2 * log(self.delta) / log1p(-self.epsilon))

    def delta_at(self, audits: int) -> float | None:
        """What may be spent on a look after so many audits; None when it is not time to look."""
        looks, rest = divmod(audits, self.first_look)
        if rest or looks.bit_count() != 1:
            return None
        return self.delta / (2 * looks)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Tallies of the thresholds, the most careful first, and the one that is certified.

    `seen` counts the audited requests, of which each threshold accepted some. Nothing is certified
    at the beginning, after an alarm of drift, and after a look at which no threshold passed.
    """

    promise: Promise
    tallies: tuple[Tally, ...]
    seen: int = 0
    certified: int | None = None

    def audited(self, accepted_from: int, *, failed: bool) -> "Certificate":
        """After one audit of a request that thresholds from index `accepted_from` on accept."""
        tallies = tuple(
            tally.audited(failed=failed) if index >= accepted_from else tally
            for index, tally in enumerate(self.tallies)
        )
        after = replace(self, tallies=tallies, seen=self.seen + 1)
        delta = self.promise.delta_at(after.seen)
        if delta is None:
            return after
        return replace(after, certified=passing(tallies, self.promise.epsilon, delta))

    def dropped(self) -> "Certificate":
        """After an alarm: nothing is certified, and what was audited before no longer counts."""
        return Certificate(self.promise, tuple(Tally() for _ in self.tallies))


def passing(tallies: Sequence[Tally], epsilon: float, delta: float) -> int | None:
    """Index of the last threshold that passes, in sequence, before the first that fails.

    A fixed sequence needs no correction for their number: a false claim implies that the first
    threshold whose regret exceeds epsilon passed its own test at level delta. One that accepted too
    few to pass whatever the audits had found is left out: how many it accepted says nothing of how
    they ended.
    """
    passed = None
    for index, tally in enumerate(tallies):
        if tail(0, tally.audits, epsilon) > delta:
            continue
        if tail(tally.failures, tally.audits, epsilon) > delta:
            break
        passed = index
    return passed


def tail(failures: int, trials: int, chance: float) -> float:
    """P(at most so many failures), each with the same `chance` strictly between 0 and 1."""
    total = 0.0
    for count in range(failures + 1):
        ways = lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)
        total += exp(ways + count * log(chance) + (trials - count) * log1p(-chance))
    return min(1.0, total)


def upper_bound(tally: Tally, delta: float) -> float:
    """Clopper and Pearson's one-sided upper bound on the chance of a failure."""
    if tally.failures >= tally.audits:
        return 1.0
    low, high = tally.failures / tally.audits, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if tail(*_counts(tally), middle) > delta else (low, middle)
    return high


def _counts(tally: Tally) -> tuple[int, int]:
    return tally.failures, tally.audits
