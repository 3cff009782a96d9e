"""Groups of scores under one mixed model, exactly: by quadrature, where others sample.

mu ~ Normal(m0, sigma_mu^2); sigma_a, sigma_y ~ HalfNormal; group j has alpha_j ~ Normal(mu,
sigma_a^2) and its scores are Normal(alpha_j, sigma_y^2). Only the pair (sigma_a, sigma_y), here
(a, s), is not Gaussian: all else is integrated in closed form, and these two are put on a grid. So
every predictive is a finite mixture of normals.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Cells = npt.NDArray[np.intp]

ALMOST_1 = 1 - 1e-12
"""Keeps a draw below the last of cumulated weights, which rounding may leave below 1."""

NODES = 12
"""Grid points a dimension."""
MIDPOINTS = np.arange(NODES) + 0.5
ONES = np.ones((NODES, NODES))
NATS = 11.0
"""The grid spans what lies within so much of the peak, on the log scale of probability."""
FAR = 20.0
FEW = 6
"""Up to so many groups, sorting them by size takes longer than it saves."""
SIGMAS = 5.0
"""No further out than so many prior standard deviations."""


@dataclass(frozen=True, slots=True)
class MixedPrior:
    """The published implementation's, by default. `floor` is under sigma_y.

    Equal scores, as 0 of 10 and 0 of 10, would have a sigma_y of 0 infinitely likely. It cannot be
    smaller than what the scores resolve.
    """

    m0: float = 0.5
    sigma_mu: float = 0.2
    sigma_a: float = 0.2
    sigma_y: float = 0.3
    floor: float = 1e-3


@dataclass(frozen=True, slots=True)
class Groups:
    """Per group: mean, count and sum of squared deviations from the mean of its scores."""

    means: Array
    counts: Array
    deviations: Array

    def within(self) -> tuple[float, float]:
        """Degrees of freedom within groups, and the sum of squares that goes with them."""
        return float(self.counts.sum()) - len(self.counts), float(self.deviations.sum())


@dataclass(frozen=True, slots=True)
class Fit:
    """The posterior: weighted grid points, and at each mu ~ Normal(`mu`, `mu_variance`)."""

    weights: Array
    a_square: Array
    s_square: Array
    mu: Array
    mu_variance: Array

    def cells(self, shape: tuple[int, int], rng: np.random.Generator) -> Cells:
        """Grid points, drawn by their weights."""
        return self.weights.cumsum().searchsorted(rng.random(shape) * ALMOST_1)

    def next_score(self, means: Array, counts: Array, cells: Cells | slice) -> tuple[Array, Array]:
        """Mean and variance of a group's next score at these grid points; count 0: a new group."""
        a_square, s_square, mu = self.a_square[cells], self.s_square[cells], self.mu[cells]
        # How much of the group's effect is still the prior's; 1 for a new group.
        prior_share = s_square / (counts * a_square + s_square)
        uncertain = prior_share * a_square + prior_share**2 * self.mu_variance[cells]
        return means + prior_share * (mu - means), uncertain + s_square

    def draws(self, means: Array, counts: Array, many: int, rng: np.random.Generator) -> Array:
        """`many` next scores of each group, every one drawn independently; a row a group."""
        cells = self.cells((len(means), many), rng)
        mean, variance = self.next_score(means[:, None], counts[:, None], cells)
        return mean + np.sqrt(variance) * rng.standard_normal(cells.shape)

    def settled(self, rng: np.random.Generator) -> "Fit":
        """One draw of (a, s) and mu: arms drawn from it are a joint draw from this."""
        (cell,) = self.cells((1, 1), rng)
        mu = self.mu[cell] + np.sqrt(self.mu_variance[cell]) * rng.standard_normal()
        one = np.ones(1)
        return Fit(one, self.a_square[cell], self.s_square[cell], mu, 0 * one)


def fit(groups: Groups, prior: MixedPrior) -> Fit:
    """The posterior of `groups` (there may be none) under `prior`.

    Scores within groups bound s; the variance of the groups' means bounds a^2 + s^2 / n. The grid
    follows whichever is known better, so that it has points along the ridge that this leaves.
    """
    between = _Between.of(groups, prior)
    degrees, squares = within = groups.within()
    low_s, high_s = _range_of_s(degrees, squares, prior, ceiling=between.most_s)
    if degrees < between.degrees:
        a, s, steps = _along_total(between, low_s, high_s)
    else:
        a, s, steps = _along_within(between, low_s, high_s, prior)
    points = (a * a).ravel(), (s * s).ravel()
    return _posterior(groups, within, prior, points, steps.ravel())


def _along_total(between: "_Between", low_s: float, high_s: float) -> tuple[Array, Array, Array]:
    """Points (a, s) and the area of each, r^2 = a^2 + s^2 / n nearly fixed.

    A turn by u about it, a = r tanh u and s = r sqrt(n) / cosh u, is log-spaced in small s; near
    a = 0 the integrand is even in u, so it loses nothing to the edge.
    """
    root = sqrt(between.share)
    low = max(between.low, 1.001 * low_s * root)
    r, r_step = _log_spaced(low, max(between.high, 1.1 * low))
    first = np.arccosh(np.maximum(r / (high_s * root), 1.0))
    step = (np.arccosh(r / (low_s * root)) - first) / NODES
    u = first + step * MIDPOINTS[:, None]
    s = r / (root * np.cosh(u))
    return r * np.tanh(u), s, s * (step * r_step)


def _along_within(
    between: "_Between", low_s: float, high_s: float, prior: MixedPrior
) -> tuple[Array, Array, Array]:
    """Points (a, s) and the area of each, s nearly fixed.

    In a spaced as sinh: evenly near 0, where the density is flat and even, and log-spaced further
    up.
    """
    s, s_step = _log_spaced(low_s, high_s)
    noise = s * s * between.share
    low = np.sqrt(np.maximum(between.low**2 - noise, 0.0))
    high = np.sqrt(np.maximum(between.high**2 - noise, prior.floor**2 / 4))
    high = np.minimum(high, SIGMAS * prior.sigma_a)
    unit = min(between.estimate, prior.sigma_a / 4)
    first = np.arcsinh(low / unit)
    step = (np.arcsinh(high / unit) - first) / NODES
    t = first + step * MIDPOINTS[:, None]
    area = unit * np.cosh(t) * (step * s_step)
    return unit * np.sinh(t), s * ONES, area


@dataclass(frozen=True, slots=True)
class _Between:
    """What the groups' means say of r^2 = a^2 + s^2 / n, `share` being the mean 1 / n."""

    share: float
    degrees: float
    estimate: float
    low: float
    high: float

    @property
    def most_s(self) -> float:
        return self.high / sqrt(self.share)

    @classmethod
    def of(cls, groups: Groups, prior: MixedPrior) -> "_Between":
        """Where a few small groups make most of the variance, the degrees are theirs.

        (Satterthwaite.) Less than the floor's is no estimate.
        """
        if len(groups.means) < 2:
            return cls(1.0, 0.0, prior.sigma_a, 0.0, FAR)
        number = len(groups.means)
        shares = 1 / groups.counts
        share = float(shares.sum()) / number
        degrees = share**2 * number**2 / float(shares @ shares) - 1
        means = groups.means - float(groups.means.sum()) / number
        estimate = sqrt(max(float(means @ means) / (number - 1), prior.floor**2 * share))
        below, above = _reach(degrees)
        high = min(estimate * exp(above), SIGMAS * (prior.sigma_a + prior.sigma_y * sqrt(share)))
        return cls(share, degrees, estimate, min(estimate * exp(-below), high / 2), high)


def _reach(degrees: float) -> tuple[float, float]:
    """How far the log of a standard deviation may lie below and above its estimate."""
    if degrees <= 0:
        return FAR, FAR
    symmetric = sqrt(NATS / degrees)
    below = min(symmetric, 0.5 * log(1 + 2 * NATS / degrees) + 0.35)
    return below, min(symmetric + NATS / degrees, FAR)


def _range_of_s(
    degrees: float, squares: float, prior: MixedPrior, *, ceiling: float
) -> tuple[float, float]:
    below, above = _reach(degrees)
    estimate = max(sqrt(squares / degrees) if degrees > 0 else 0.0, prior.floor)
    high = min(estimate * exp(above), SIGMAS * prior.sigma_y, ceiling)
    low = max(min(estimate * exp(-below), high / 2), prior.floor)
    return low, max(high, 1.1 * low)


def _log_spaced(low: float, high: float) -> tuple[Array, Array]:
    """Points, and how much of the range each stands for."""
    step = log(high / low) / NODES
    points = low * np.exp(step * MIDPOINTS)
    return points, step * points


def _posterior(
    groups: Groups,
    within: tuple[float, float],
    prior: MixedPrior,
    points: tuple[Array, Array],
    steps: Array,
) -> Fit:
    """The marginal density of (a, s), mu and all group effects integrated out."""
    degrees, squares = within
    a_square, s_square = points
    sizes, sums = _by_size(groups, prior)
    variances = s_square / sizes[:, None]
    variances += a_square
    # Numbers, sums and squares of the means, each by 1 / variance.
    precision, mu, spread = sums @ (1 / variances)
    precision += prior.sigma_mu**-2
    mu /= precision
    # Minus twice the logarithm of the density.
    twice: Array = sums[0] @ np.log(variances)
    twice += np.log(precision)
    twice += spread
    twice -= mu * mu * precision
    twice += degrees * np.log(s_square)
    twice += squares / s_square
    twice += a_square / prior.sigma_a**2
    twice += s_square / prior.sigma_y**2
    weights = np.exp((twice.min() - twice) / 2) * steps
    weights /= weights.sum()
    return Fit(weights, a_square, s_square, mu + prior.m0, 1 / precision)


def _by_size(groups: Groups, prior: MixedPrior) -> tuple[Array, Array]:
    """Sizes, and for each the number of groups, the sum of their means and of these squared.

    Groups of one size share a variance, so their sums stand for them all.
    """
    means = groups.means - prior.m0
    if len(means) <= FEW:
        return groups.counts, np.array([np.ones(len(means)), means, means * means])
    counts = groups.counts.astype(np.intp)
    numbers = np.bincount(counts)
    (sizes,) = numbers.nonzero()
    summed = [numbers, np.bincount(counts, means), np.bincount(counts, means * means)]
    return sizes.astype(np.float64), np.array([each[sizes] for each in summed], dtype=np.float64)
