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

NODES = 12
"""Grid points a dimension; 10 are 1e-3 off where a few groups have a few scores."""
MIDPOINTS = np.arange(NODES) + 0.5
ONES = np.ones((NODES, NODES))
NATS = 11.0
"""The grid spans what lies within so much of the peak, on the log scale of probability."""
FAR = 20.0
FEW = 12
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


@dataclass(frozen=True, slots=True)
class Fit:
    """The posterior: weighted grid points, and at each mu ~ Normal(`mu`, `mu_variance`)."""

    weights: Array
    a_square: Array
    s_square: Array
    mu: Array
    mu_variance: Array

    def cells(self, shape: tuple[int, ...], rng: np.random.Generator) -> Cells:
        """Grid points, drawn by their weights."""
        summed: Array = self.weights.cumsum()
        total = float(summed[-1])  # which rounding may leave below 1
        return summed.searchsorted(total * rng.random(shape))

    def next_score(self, means: Array, counts: Array, cells: Cells | slice) -> tuple[Array, Array]:
        """Mean and variance of a group's next score at these grid points; count 0: a new group."""
        a_square, s_square = self.a_square[cells], self.s_square[cells]
        # How much of the group's effect is still the prior's; 1 for a new group.
        prior_share = counts * a_square
        prior_share += s_square
        np.divide(s_square, prior_share, out=prior_share)
        variance: Array = prior_share * self.mu_variance[cells]
        variance += a_square
        variance *= prior_share
        variance += s_square
        mean: Array = self.mu[cells] - means
        mean *= prior_share
        mean += means
        return mean, variance

    def draws(self, means: Array, counts: Array, rng: np.random.Generator) -> Array:
        """One next score of each group, every one drawn independently."""
        mean, variance = self.next_score(means, counts, self.cells(means.shape, rng))
        drawn: Array = rng.standard_normal(means.shape)
        drawn *= np.sqrt(variance)
        drawn += mean
        return drawn

    def settled(self, rng: np.random.Generator) -> "Fit":
        """One draw of (a, s) and mu: arms drawn from it are a joint draw from this."""
        cell = self.cells((1,), rng)
        mu = self.mu[cell] + np.sqrt(self.mu_variance[cell]) * rng.standard_normal()
        one = np.ones(1)
        return Fit(one, self.a_square[cell], self.s_square[cell], mu, 0 * one)


def fit(groups: Groups, prior: MixedPrior) -> Fit:
    """The posterior of `groups` (there may be none) under `prior`.

    Scores within groups bound s; the variance of the groups' means bounds a^2 + s^2 / n. The grid
    follows whichever is known better, so that it has points along the ridge that this leaves.
    """
    sums = _Sums.of(groups, prior)
    between = _Between.of(sums, prior)
    low_s, high_s = _range_of_s(sums, prior, ceiling=between.most_s)
    if sums.degrees < between.degrees:
        grid = _along_total(between, low_s, high_s)
    else:
        grid = _along_within(between, low_s, high_s, prior)
    return _posterior(sums, prior, grid)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Points (a^2, s^2), and the area that each stands for in (a, s)."""

    a_square: Array
    s_square: Array
    areas: Array


@dataclass(frozen=True, slots=True)
class _Sums:
    """What there is to know of some groups.

    Those of one size share a variance, so their sums stand for them all: `by_size` has a row of
    their numbers, one of the sums of their means and one of these squared; `shares` are 1 / size.
    `degrees` and `squares` are those of the scores within groups.
    """

    number: int
    shares: Array
    by_size: Array
    degrees: float
    squares: float

    @classmethod
    def of(cls, groups: Groups, prior: MixedPrior) -> "_Sums":
        sizes, by_size = _by_size(groups.means - prior.m0, groups.counts)
        number = len(groups.means)
        degrees = float(by_size[0] @ sizes) - number
        return cls(number, 1 / sizes, by_size, degrees, float(groups.deviations.sum()))


def _by_size(means: Array, counts: Array) -> tuple[Array, Array]:
    if len(means) <= FEW:
        return counts, np.array([np.ones(len(means)), means, means * means])
    whole = counts.astype(np.intp)
    numbers = np.bincount(whole)
    (sizes,) = numbers.nonzero()
    summed = [numbers, np.bincount(whole, means), np.bincount(whole, means * means)]
    return sizes.astype(np.float64), np.array([each[sizes] for each in summed], dtype=np.float64)


def _along_total(between: "_Between", low_s: float, high_s: float) -> _Grid:
    """Points with r^2 = a^2 + s^2 / n nearly fixed.

    A turn by u about it, a = r tanh u and s = r sqrt(n) / cosh u, is log-spaced in small s; near
    a = 0 the integrand is even in u, so it loses nothing to the edge.
    """
    root = sqrt(between.share)
    low = max(between.low, 1.001 * low_s * root)
    r, r_step = _log_spaced(low, max(between.high, 1.1 * low))
    first = np.arccosh(np.maximum(r / (high_s * root), 1.0))
    step = (np.arccosh(r / (low_s * root)) - first) / NODES
    u = first + step * MIDPOINTS[:, None]
    a, s = r * np.tanh(u), r / (root * np.cosh(u))
    return _Grid((a * a).ravel(), (s * s).ravel(), (s * (step * r_step)).ravel())


def _along_within(between: "_Between", low_s: float, high_s: float, prior: MixedPrior) -> _Grid:
    """Points with s nearly fixed.

    In a spaced as sinh: evenly near 0, where the density is flat and even, and log-spaced further
    up.
    """
    s, s_step = _log_spaced(low_s, high_s)
    s_square = s * s
    most = SIGMAS * prior.sigma_a
    # The squares of the least a, and of the largest.
    ends = np.array([[min(between.low, most / 2) ** 2], [between.high**2]])
    ends = np.maximum(ends - s_square * between.share, 0.0)
    ends[1] += prior.floor**2 / 4
    unit = min(between.estimate, prior.sigma_a / 4)
    first, last = np.arcsinh(np.minimum(np.sqrt(ends), most) / unit)
    step = (last - first) / NODES
    t = first + step * MIDPOINTS[:, None]
    a = unit * np.sinh(t)
    areas = np.cosh(t) * (unit * step * s_step)
    return _Grid((a * a).ravel(), (s_square * ONES).ravel(), areas.ravel())


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
    def of(cls, sums: _Sums, prior: MixedPrior) -> "_Between":
        """Where a few small groups make most of the variance, the degrees are theirs.

        (Satterthwaite.) Less than the floor's is no estimate.
        """
        number = sums.number
        if number < 2:
            return cls(1.0, 0.0, prior.sigma_a, 0.0, FAR)
        numbers, shares = sums.by_size[0], sums.shares
        share = float(numbers @ shares) / number
        degrees = share**2 * number**2 / float(numbers @ (shares * shares)) - 1
        total, squares = sums.by_size[1:].sum(axis=1).tolist()
        variance = (squares - total * total / number) / (number - 1)
        estimate = sqrt(max(variance, prior.floor**2 * share))
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


def _range_of_s(sums: _Sums, prior: MixedPrior, *, ceiling: float) -> tuple[float, float]:
    degrees = sums.degrees
    below, above = _reach(degrees)
    estimate = max(sqrt(sums.squares / degrees) if degrees > 0 else 0.0, prior.floor)
    high = min(estimate * exp(above), SIGMAS * prior.sigma_y, ceiling)
    low = max(min(estimate * exp(-below), high / 2), prior.floor)
    return low, max(high, 1.1 * low)


def _log_spaced(low: float, high: float) -> tuple[Array, Array]:
    """Points, and how much of the range each stands for."""
    step = log(high / low) / NODES
    points = low * np.exp(step * MIDPOINTS)
    return points, step * points


def _posterior(sums: _Sums, prior: MixedPrior, grid: _Grid) -> Fit:
    """The marginal density of (a, s), mu and all group effects integrated out."""
    a_square, s_square = grid.a_square, grid.s_square
    variances = sums.shares[:, None] * s_square
    variances += a_square
    # Minus twice the logarithm of the density.
    twice: Array = sums.by_size[0] @ np.log(variances)
    # Numbers, sums and squares of the means, each by 1 / variance.
    precision, mu, spread = sums.by_size @ np.reciprocal(variances, out=variances)
    precision += prior.sigma_mu**-2
    twice += np.log(precision)
    twice += spread
    weighted = mu.copy()
    mu /= precision
    weighted *= mu
    twice -= weighted
    twice += sums.degrees * np.log(s_square)
    twice += sums.squares / s_square
    twice += a_square * prior.sigma_a**-2
    twice += s_square * prior.sigma_y**-2
    twice -= twice.min()
    twice *= -0.5
    weights = np.exp(twice, out=twice)
    weights *= grid.areas
    weights /= weights.sum()
    mu += prior.m0
    return Fit(weights, a_square, s_square, mu, 1 / precision)
