"""What is believed about an arm's mean score, given the scores it has had so far.

Two conjugate families, so that a belief is a handful of numbers and is never fitted. Nothing here
knows a tree, an arm's name, or where a score came from.
"""

from dataclasses import dataclass
from math import sqrt
from sys import float_info
from typing import Protocol

import numpy as np


@dataclass(slots=True)
class Tally:
    """Count, sum and sum of squares of some scores: all that either family needs.

    Plain sums, because they are updated in O(1) and the tally of a union is the sum of tallies.
    Scores lie in [0, 1], so what rounding takes from `deviation` is, per score, below 1e-11 even
    among 10,000 of them.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, score: float) -> None:
        """Count one more score."""
        self.n += 1
        self.total += score
        self.squares += score * score

    def merge(self, other: "Tally") -> None:
        """Count all scores of `other` too."""
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float:
        """Mean score; 0 for none, where no formula gives it any weight."""
        return self.total / self.n if self.n else 0.0

    @property
    def deviation(self) -> float:
        """Sum of squared deviations from the mean, kept from falling below 0 by rounding."""
        return max(0.0, self.squares - self.total * self.mean)


class Belief(Protocol):
    """A distribution over an arm's mean score: a prior, or what a prior has become."""

    def given(self, tally: Tally) -> "Belief":
        """The posterior, with this as the prior, once the scores in `tally` are seen."""
        ...

    def draw(self, rng: np.random.Generator) -> float:
        """One plausible mean score: a draw of the mean, not of a next score."""
        ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Normal scores of unknown mean and variance: normal-inverse-chi-squared.

    sigma^2 ~ Inv-chi^2(nu, tau_square) and mean ~ Normal(m, sigma^2 / kappa). The defaults are the
    published implementation's: one pseudo-score of 0 with variance 0.1.
    Source: Murphy, Probabilistic Machine Learning: Advanced Topics, sec. 3.4.3.3.
    """

    m: float = 0.0
    kappa: float = 1.0
    nu: float = 1.0
    tau_square: float = 0.1

    def given(self, tally: Tally) -> "Gaussian":
        """Murphy's update; the last term is what the prior mean and the scores disagree by."""
        n, mean = tally.n, tally.mean
        kappa, nu = self.kappa + n, self.nu + n
        disagreement = n * self.kappa * (self.m - mean) ** 2 / kappa
        return Gaussian(
            m=(self.kappa * self.m + tally.total) / kappa,
            kappa=kappa,
            nu=nu,
            tau_square=(self.nu * self.tau_square + tally.deviation + disagreement) / nu,
        )

    def draw(self, rng: np.random.Generator) -> float:
        """The variance first, by an inverse gamma draw, then the mean given the variance."""
        # A gamma draw of shape 1/2 is zero once in 2^53; a very large variance is then meant.
        precision = max(rng.standard_gamma(self.nu / 2), float_info.min)
        variance = self.nu * self.tau_square / 2 / precision
        return rng.normal(self.m, sqrt(variance / self.kappa))


@dataclass(frozen=True, slots=True)
class Beta:
    """Scores as fractions of a success: a score r counts r successes and 1 - r failures.

    The default is Jeffreys' prior.
    Source: Murphy, Probabilistic Machine Learning: Advanced Topics, sec. 3.4.1.
    """

    a: float = 0.5
    b: float = 0.5

    def given(self, tally: Tally) -> "Beta":
        """Add the successes to `a` and the failures to `b`."""
        return Beta(a=self.a + tally.total, b=self.b + (tally.n - tally.total))

    def draw(self, rng: np.random.Generator) -> float:
        """One beta draw."""
        return rng.beta(self.a, self.b)
