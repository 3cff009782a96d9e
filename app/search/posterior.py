"""What is believed about an arm's mean score, given the scores it has had so far.

Two conjugate families, so that a belief is a handful of numbers and is never fitted. An arm is one
row of such numbers, so that many can be drawn at once. Nothing here knows a tree, an arm's name, or
where a score came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import erfc, expm1, inf, log, sqrt
from sys import float_info
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.search.broods import Ids, Rows
from app.search.tally import UNIT, UNIT_SQUARED, Tally

Row = tuple[float, float, float]
Draws = npt.NDArray[np.float64]

TINY = float_info.min
"""For a gamma draw of 0, one in 2^53 with shape 1/2: it means a very large variance."""
FEW = 8
"""Up to so many gamma draws are faster one by one: numpy checks an array for longer than that."""
VOTES = 16
"""Joint draws that vote on a choice: its recorded chance is a multiple of 1 / VOTES."""


class Belief(Protocol):
    """A family of distributions over an arm's mean score: a prior, and what scores make of it."""

    def arm(self, tally: Tally) -> Row:
        """The posterior, once the scores in `tally` are seen, as one row of numbers."""
        ...

    def chance_above(self, first: Row, second: Row, rng: np.random.Generator) -> float:
        """The chance that `second` draws more than `first`, given what is drawn here."""
        ...

    def ballots(self, arms: Rows, contenders: int, rng: np.random.Generator) -> tuple[Rows, Draws]:
        """Plausible mean scores, not next scores: `VOTES` exchangeable ones of each contender.

        The contenders are the first arms; of each of the others there is one draw. Below the
        ballots is a row for what all others draw at best, still -inf.
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

    def ballots(self, arms: Rows, contenders: int, rng: np.random.Generator) -> tuple[Rows, Draws]:
        """Draws the variances once; the columns are normal given these."""
        means, scales = arms[:, 0], _gammas(arms[:, 2], rng)
        scales += TINY
        np.sqrt(scales, out=scales)
        np.divide(arms[:, 1], scales, out=scales)
        ballots: Rows = np.empty((contenders + 1, VOTES))
        ballots[-1] = -inf
        drawn = ballots[:-1]
        rng.standard_normal(out=drawn)
        drawn *= scales[:contenders, None]
        drawn += means[:contenders, None]
        others = rng.standard_normal(len(arms) - contenders)
        others *= scales[contenders:]
        others += means[contenders:]
        return ballots, others

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


def _gammas(shapes: Draws, rng: np.random.Generator) -> Draws:
    if len(shapes) > FEW:
        return rng.standard_gamma(shapes)
    draw: Callable[[float], float] = rng.standard_gamma
    listed: list[float] = shapes.tolist()
    return np.array([draw(shape) for shape in listed])


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

    def ballots(self, arms: Rows, contenders: int, rng: np.random.Generator) -> tuple[Rows, Draws]:
        """All beta draws are independent."""
        votes = [rng.beta(a, b, VOTES) for a, b, _ in arms[:contenders].tolist()]
        others = rng.beta(arms[contenders:, 0], arms[contenders:, 1])
        return np.array([*votes, np.full(VOTES, -inf)]), others

    def best_single(
        self, rows: Rows, ids: Ids, top_score: float, rng: np.random.Generator
    ) -> tuple[int, float]:
        """One draw an arm, for lack of a quantile function in closed form."""
        _, drawn = self.ballots(rows.take(ids, axis=0), 0, rng)
        place = drawn.argmax()
        return int(ids[place]), float(drawn[place])
