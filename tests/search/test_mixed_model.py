from math import sqrt

import numpy as np
import pytest

from app.search.mixed_model import Array, Groups, MixedPrior, fit

PRIOR = MixedPrior()


def groups_of(scores: list[Array]) -> Groups:
    """Groups of these scores; there may be none."""
    return Groups(
        np.array([group.mean() for group in scores]),
        np.array([float(len(group)) for group in scores]),
        np.array([group.var() * len(group) for group in scores]),
    )


def made_up(count: int, size: int, *, spread: float, noise: float) -> Groups:
    """Groups of 1 to `size` scores."""
    rng = np.random.default_rng(7)
    return groups_of(
        [
            0.5
            + spread * rng.standard_normal()
            + noise * rng.standard_normal(rng.integers(size) + 1)
            for _ in range(count)
        ]
    )


def marginal(groups: Groups) -> tuple[float, float]:
    """Mean and standard deviation of a new group's next score, on a plain and very dense grid."""
    a, s = np.meshgrid(np.geomspace(1e-5, 1.2, 700), np.geomspace(PRIOR.floor, 1.8, 700))
    a_square, s_square = (a * a).ravel(), (s * s).ravel()
    log_p = -(a_square / PRIOR.sigma_a**2 + s_square / PRIOR.sigma_y**2) / 2
    log_p -= (groups.counts.sum() - len(groups.counts)) * np.log(s_square) / 2
    log_p -= groups.deviations.sum() / s_square / 2
    precision = np.full_like(a_square, PRIOR.sigma_mu**-2)
    weighted, squares = np.zeros_like(a_square), np.zeros_like(a_square)
    for mean, count in zip(groups.means - PRIOR.m0, groups.counts, strict=True):
        variance = a_square + s_square / count
        log_p -= np.log(variance) / 2
        precision += 1 / variance
        weighted += mean / variance
        squares += mean * mean / variance
    mu = weighted / precision
    log_p -= (np.log(precision) + squares - mu * mu * precision) / 2
    weights = np.exp(log_p - log_p.max()) * (a * s).ravel()
    weights /= weights.sum()
    mean = weights @ mu
    variance = weights @ (mu * mu + 1 / precision + a_square + s_square) - mean**2
    return float(mean + PRIOR.m0), float(np.sqrt(variance))


@pytest.mark.parametrize(
    ("count", "size", "spread", "noise"),
    [
        (0, 1, 0.0, 0.0),
        (1, 1, 0.0, 0.1),
        (1, 30, 0.0, 0.1),
        (3, 3, 0.1, 0.1),
        (40, 1, 0.1, 0.2),
        (40, 30, 0.0, 0.3),
        (40, 30, 0.3, 0.05),
        (150, 1, 0.0, 0.2),
        (150, 2, 0.1, 0.1),
    ],
)
def test_new_group_has_the_moments_of_a_dense_grid(
    count: int, size: int, spread: float, noise: float
) -> None:
    """Also where many groups of one score leave a ridge: a^2 + s^2 known, neither of them alone."""
    groups = made_up(count, size, spread=spread, noise=noise)
    posterior = fit(groups, PRIOR)
    mean, variance = posterior.next_score(np.zeros(1), np.zeros(1), slice(None))
    found = posterior.weights @ mean
    deviation = np.sqrt(posterior.weights @ (mean * mean + variance) - found**2)
    expected, expected_deviation = marginal(groups)
    assert found == pytest.approx(expected, abs=2e-3)
    assert deviation == pytest.approx(expected_deviation, rel=0.01)


@pytest.mark.parametrize("count", [1, 2, 5, 500])
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_equal_scores_leave_the_noise_at_its_floor(count: int, score: float) -> None:
    """0 of 10 again and again: the next is 0 too, give or take what scores resolve; no error."""
    groups = groups_of([np.full(4, score)] * count)
    posterior = fit(groups, MixedPrior(floor=0.1))
    assert np.isfinite(posterior.weights).all()
    assert posterior.s_square.min() >= 0.1**2 * (1 - 1e-9)
    mean, _ = posterior.next_score(groups.means[:1], groups.counts[:1], slice(None))
    assert posterior.weights @ mean == pytest.approx(score, abs=0.06)


def test_draws_have_the_moments_of_the_mixture() -> None:
    """Of a group that was seen and of a new one."""
    groups = made_up(6, 4, spread=0.2, noise=0.1)
    posterior = fit(groups, PRIOR)
    means, counts = np.append(groups.means[:1], 0.0), np.append(groups.counts[:1], 0.0)
    drawn = posterior.draws(
        means[:, None].repeat(100_000, axis=1),
        counts[:, None].repeat(100_000, axis=1),
        np.random.default_rng(0),
    )
    for arm in range(2):
        mean, variance = posterior.next_score(means[arm], counts[arm], slice(None))
        expected = float(posterior.weights @ mean)
        deviation = sqrt(float(posterior.weights @ (mean * mean + variance)) - expected**2)
        assert drawn[arm].mean() == pytest.approx(expected, abs=5 * deviation / 300)
        assert drawn[arm].std() == pytest.approx(deviation, rel=0.02)


def test_joint_draws_share_what_is_common_to_all() -> None:
    """Arms drawn apart are uncorrelated; under one set of parameters they move together."""
    groups = groups_of([np.array([0.2]), np.array([0.9])])
    posterior = fit(groups, PRIOR)
    nobody = np.zeros(2)
    rng = np.random.default_rng(0)
    many = np.zeros((2, 4_000))
    apart = posterior.draws(many, many, rng)
    joint = np.array([posterior.settled(rng).draws(nobody, nobody, rng) for _ in range(4_000)]).T
    assert abs(correlation(apart)) < 0.06
    assert correlation(joint) > 0.1
    assert joint.mean() == pytest.approx(apart.mean(), abs=0.03)
    assert joint.std() == pytest.approx(apart.std(), rel=0.05)


def correlation(rows: Array) -> float:
    """Of two rows."""
    first, second = rows - rows.mean(axis=1)[:, None]
    return float((first * second).mean() / (rows[0].std() * rows[1].std()))
