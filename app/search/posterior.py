"""What is believed about an arm's mean score, given the scores it has had so far.

Two conjugate families, so that a belief is a handful of numbers and is never fitted. An arm is one
row of such numbers, so that many can be drawn at once. Nothing here knows a tree, an arm's name, or
where a score came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import erfc, expm1, inf, log, pi, sqrt
from sys import float_info
from typing import Protocol

import numpy as np

from app.search.broods import Ids, Rows
from app.search.tally import UNIT, UNIT_SQUARED, Tally

Row = tuple[float, float, float]

TURN = 2 * pi
TINY = float_info.min
"""For a gamma draw of 0, one in 2^53 with shape 1/2: it means a very large variance."""
VOTES = 32
"""Joint draws that vote on a choice: its recorded chance is a multiple of 1 / VOTES."""


class Belief(Protocol):
    """A family of distributions over an arm's mean score: a prior, and what scores make of it."""

    def arm(self, tally: Tally) -> Row:
        """The posterior, once the scores in `tally` are seen, as one row of numbers."""
        ...

    def chance_above(self, first: Row, second: Row, rng: np.random.Generator) -> float:
        """The chance that `second` draws more than `first`, given what is drawn here."""
        ...

    def draws(self, arms: Rows, rng: np.random.Generator) -> Rows:
        """One plausible mean score an arm: draws of means, not of next scores."""
        ...

    def ballots(self, arms: Rows, rng: np.random.Generator, *, rival: float = -inf) -> Rows:
        """`VOTES` exchangeable draws an arm, each column distributed as `draws`.

        The last row is `rival` throughout: what all others have drawn at best.
        """
        ...

    def best_single(
        self, rows: Rows, ids: Ids, top_score: float, rng: np.random.Generator
    ) -> tuple[int, float]:
        """Which of `ids` draws most, and what: arms with one score each, none above `top_score`."""
        ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Normal scores of unknown mean and variance: normal-inverse-chi-squared.

    sigma^2 ~ Inv-chi^2(nu, tau_square) and mean ~ Normal(m, sigma^2 / kappa). The defaults are the
    published implementation's: one pseudo-score of 0 with variance 0.1.
    Source: Murphy, Probabilistic Machine Learning: Advanced Topics, sec. 3.4.3.3.

    A row is (m, spread, shape), for a mean of m + spread / sqrt(precision) * z with a precision of
    Gamma(shape) and a standard normal z.
    """

    m: float = 0.0
    kappa: float = 1.0
    nu: float = 1.0
    tau_square: float = 0.1

    def given(self, tally: Tally) -> "Gaussian":
        """Murphy's update; the last term is what the prior mean and the scores disagree by."""
        n = tally.n
        kappa, nu = self.kappa + n, self.nu + n
        disagreement = n * self.kappa * (self.m - tally.mean) ** 2 / kappa
        return Gaussian(
            m=(self.kappa * self.m + tally.sum) / kappa,
            kappa=kappa,
            nu=nu,
            tau_square=(self.nu * self.tau_square + tally.deviation + disagreement) / nu,
        )

    def arm(self, tally: Tally) -> Row:
        """As `given`, in fewer steps: this is what an ask computes most often."""
        kappa = self.kappa + tally.n
        m = (self.kappa * self.m + tally.total / UNIT) / kappa
        squares = tally.squares / UNIT_SQUARED + self.nu * self.tau_square + self.kappa * self.m**2
        return m, sqrt((squares - kappa * m * m) / (2 * kappa)), (self.nu + tally.n) / 2

    def chance_above(self, first: Row, second: Row, rng: np.random.Generator) -> float:
        """Draws the two variances; what is then left is a difference of two normals."""
        (m1, spread1, shape1), (m2, spread2, shape2) = first, second
        variance = spread1**2 / (rng.standard_gamma(shape1) or TINY)
        variance += spread2**2 / (rng.standard_gamma(shape2) or TINY)
        return erfc((m1 - m2) / sqrt(2 * variance)) / 2

    def draws(self, arms: Rows, rng: np.random.Generator) -> Rows:
        """By the polar method for Student's t of 2 * shape degrees: in few calls of numpy.

        The exponential is minus the logarithm of the uniform that the source begins with.

        Source: Bailey, Polar generation of random variates with the t-distribution, 1994.
        """
        drawn: Rows = np.expm1(rng.standard_exponential(len(arms)) / arms[:, 2])
        drawn *= 2
        np.sqrt(drawn, out=drawn)
        drawn *= np.cos(TURN * rng.random(len(arms)))
        drawn *= arms[:, 1]
        drawn += arms[:, 0]
        return drawn

    def ballots(self, arms: Rows, rng: np.random.Generator, *, rival: float = -inf) -> Rows:
        """Draws the variances once; the columns are normal given these."""
        # One by one: below some twenty arms that is faster than numpy's broadcasting.
        gamma: Callable[[float], float] = rng.standard_gamma
        listed: list[Row] = arms.tolist()
        scales = [[spread / sqrt(gamma(shape) or TINY)] for _, spread, shape in listed]
        drawn: Rows = np.full((len(arms) + 1, VOTES), rival)
        arms_drawn = drawn[:-1]
        rng.standard_normal(out=arms_drawn)
        arms_drawn *= scales
        arms_drawn += arms[:, :1]
        return drawn

    def best_single(
        self, rows: Rows, ids: Ids, top_score: float, rng: np.random.Generator
    ) -> tuple[int, float]:
        """Draws only what can win: the largest t's first, until no smaller one can.

        After one score t has 2 degrees of freedom, and so a quantile function in closed form: the
        largest of k is that of U^(1/k), the next of that times V^(1/(k-1)), and each falls to any
        arm alike. A handful of draws decides among thousands of arms.
        """
        assert self.nu == 1.0, "2 degrees of freedom after one score"
        one = Tally()
        one.add(top_score)
        top_m, top_spread, _ = self.arm(one)
        best, best_value, log_u = -1, -inf, 0.0
        drawn: set[int] = set()
        for left in range(len(ids), 0, -1):
            log_u += log(1 - rng.random()) / left
            w = max(-expm1(log_u), TINY)
            t = (1 - 2 * w) / sqrt(2 * w * max(1 - w, TINY))
            if top_m + top_spread * max(t, 0.0) <= best_value:
                break
            while (place := int(rng.random() * len(ids))) in drawn:
                pass
            drawn.add(place)
            m, spread, _ = rows[ids[place]].tolist()
            if m + spread * t > best_value:
                best, best_value = int(ids[place]), m + spread * t
        return best, best_value


@dataclass(frozen=True, slots=True)
class Beta:
    """Scores as fractions of a success: a score r counts r successes and 1 - r failures.

    The default is Jeffreys' prior. A row is (a, b, unused).
    Source: Murphy, Probabilistic Machine Learning: Advanced Topics, sec. 3.4.1.
    """

    a: float = 0.5
    b: float = 0.5

    def given(self, tally: Tally) -> "Beta":
        """Add the successes to `a` and the failures to `b`."""
        return Beta(a=self.a + tally.sum, b=self.b + (tally.n - tally.sum))

    def arm(self, tally: Tally) -> Row:
        """As `given`."""
        posterior = self.given(tally)
        return posterior.a, posterior.b, 0.0

    def chance_above(self, first: Row, second: Row, rng: np.random.Generator) -> float:
        """By the share of `VOTES` pairs of draws."""
        lower, upper = rng.beta(*first[:2], VOTES), rng.beta(*second[:2], VOTES)
        return np.count_nonzero(upper > lower) / VOTES

    def draws(self, arms: Rows, rng: np.random.Generator) -> Rows:
        """One beta draw an arm."""
        drawn: Rows = rng.beta(arms[:, 0], arms[:, 1])
        return drawn

    def ballots(self, arms: Rows, rng: np.random.Generator, *, rival: float = -inf) -> Rows:
        """`VOTES` beta draws an arm."""
        drawn = [rng.beta(a, b, VOTES) for a, b, _ in arms.tolist()]
        return np.array([*drawn, np.full(VOTES, rival)])

    def best_single(
        self, rows: Rows, ids: Ids, top_score: float, rng: np.random.Generator
    ) -> tuple[int, float]:
        """One draw an arm, for lack of a quantile function in closed form."""
        drawn = self.draws(rows[ids], rng)
        place = drawn.argmax()
        return int(ids[place]), float(drawn[place])
