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
MIDPOINTS = (np.arange(NODES) + 0.5) / NODES
ALONG = np.stack([np.ones(NODES), MIDPOINTS], axis=1)
"""Times (start, length): the points of a range."""
add = np.add.reduce
"""What numpy's own sum comes to, for half the price where there are few numbers."""
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
    """Points, the rows of `squares` being s^2, a^2 and 1.

    Each stands for an area in (a, s), of which `areas` are multiples.
    """

    squares: Array
    areas: Array

    @classmethod
    def of(cls, s_square: Array, a_square: Array, areas: Array) -> "_Grid":
        squares = np.empty((3, NODES, NODES))
        squares[0] = s_square
        squares[1] = a_square
        squares[2] = 1.0
        return cls(squares.reshape(3, -1), areas.ravel())


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
        degrees = float(add(groups.counts)) - number
        return cls(number, np.reciprocal(sizes), by_size, degrees, float(add(groups.deviations)))


def _by_size(means: Array, counts: Array) -> tuple[Array, Array]:
    if len(means) <= FEW:
        by_size = np.empty((3, len(means)))
        by_size[0] = 1.0
        by_size[1] = means
        np.multiply(means, means, out=by_size[2])
        return counts, by_size
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
    r = _log_spaced(low, max(between.high, 1.1 * low))
    start = np.arccosh(np.maximum(r / (high_s * root), 1.0))
    length = np.arccosh(r / (low_s * root)) - start
    u = np.dot(ALONG, np.array([start, length]))
    a, s = r * np.tanh(u), r / (root * np.cosh(u))
    return _Grid.of(s * s, a * a, s * (length * r))


def _along_within(between: "_Between", low_s: float, high_s: float, prior: MixedPrior) -> _Grid:
    """Points with s nearly fixed.

    In a spaced as sinh: evenly near 0, where the density is flat and even, and log-spaced further
    up.
    """
    s = _log_spaced(low_s, high_s)
    s_square = s * s
    most = SIGMAS * prior.sigma_a
    unit = min(between.estimate, prior.sigma_a / 4)
    # In units: the squares of the least a, and of the largest; then the ranges of asinh a.
    ends = np.array([[(min(between.low, most / 2) / unit) ** 2], [(between.high / unit) ** 2]])
    ends = ends - (between.share / unit**2) * s_square
    np.maximum(ends, np.array([[0.0], [(prior.floor / unit) ** 2 / 4]]), out=ends)
    np.minimum(ends, (most / unit) ** 2, out=ends)
    ends = np.arcsinh(np.sqrt(ends, out=ends), out=ends)
    start, length = ends
    length -= start
    t = np.dot(ALONG, ends)
    a = np.sinh(t)
    a *= unit
    a *= a
    length *= s
    areas = np.cosh(t, out=t)
    areas *= length
    return _Grid.of(s_square, a, areas)


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
        shares = sums.shares
        shared = float(np.dot(sums.by_size[0], shares))
        degrees = shared**2 / float(np.dot(sums.by_size[0], shares * shares)) - 1
        share = shared / number
        _, total, squares = add(sums.by_size, axis=1).tolist()
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


def _log_spaced(low: float, high: float) -> Array:
    """Points, each of which stands for as large a share of itself."""
    points = MIDPOINTS * log(high / low)
    np.exp(points, out=points)
    points *= low
    return points


def _posterior(sums: _Sums, prior: MixedPrior, grid: _Grid) -> Fit:
    """The marginal density of (a, s), mu and all group effects integrated out.

    Two rows stand beside those of the groups: one of variance s^2 for the scores within groups,
    and one of variance sigma_mu^2 for the prior of mu, a mean of 0 seen once.
    """
    sizes = len(sums.shares)
    # Of s^2, a^2 and 1, how much makes the variance of each row.
    made_of = np.zeros((sizes + 2, 3))
    made_of[:sizes, 0] = sums.shares
    made_of[:sizes, 1] = 1.0
    made_of[sizes, 0] = 1.0
    made_of[sizes + 1, 2] = prior.sigma_mu**2
    # Degrees of freedom; then numbers, sums and squares of the means.
    rows = np.zeros((4, sizes + 2))
    rows[0, :sizes] = sums.by_size[0]
    rows[0, sizes] = sums.degrees
    rows[1:, :sizes] = sums.by_size
    rows[1, sizes + 1] = 1.0
    rows[3, sizes] = sums.squares
    variances: Array = np.dot(made_of, grid.squares)
    # Minus twice the logarithm of the density, but for what is left of mu's.
    twice: Array = np.dot(rows[0], np.log(variances))
    twice += np.dot((prior.sigma_y**-2, prior.sigma_a**-2, 0.0), grid.squares)
    precision, mu, spread = np.dot(rows[1:], np.reciprocal(variances, out=variances))
    twice += spread
    variance = np.reciprocal(precision, out=precision)
    weighted = mu * variance
    mu *= weighted
    twice -= mu
    twice -= np.minimum.reduce(twice)
    twice *= -0.5
    weights: Array = np.exp(twice, out=twice)
    weights *= grid.areas
    weights *= np.sqrt(variance, out=mu)
    weights /= add(weights)
    weighted += prior.m0
    return Fit(weights, grid.squares[1], grid.squares[0], weighted, variance)
