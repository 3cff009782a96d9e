"""Ridge-penalised logistic and linear regression, by Newton's method, in numpy alone.

Forty features and a few thousand rows need a dozen 40 x 40 solves: milliseconds, and no package
that trains models has to be installed where requests pass.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LOGIT_MAX: Final = 30.0
"""Beyond it a probability is 0 or 1 to thirteen digits."""
STEP_MAX: Final = 4.0
"""No weight moves further in one step, so that separable labels do not overshoot."""
STEPS_MAX: Final = 30
CLOSE: Final = 1e-5


def probability(logits: Array) -> Array:
    """The logistic function; finite for any input that is a number."""
    bounded: Array = np.clip(logits, -LOGIT_MAX, LOGIT_MAX)
    return 1 / (1 + np.exp(-bounded))


def fit_logistic(features: Array, labels: Array, precision: Array) -> Array:
    """Weights of greatest posterior density, each with a Normal(0, 1 / precision) prior.

    `features` is (rows, columns), a label 0, 1 or the share of several labels that were 1.
    """
    weights = np.zeros_like(precision)
    for _ in range(STEPS_MAX):
        chance = probability(features @ weights)
        slope: Array = features.T @ (chance - labels) + precision * weights
        step = _solved(_curvature(features, chance * (1 - chance), precision), slope)
        largest = float(np.abs(step).max())
        weights = weights - step * min(1.0, STEP_MAX / max(largest, CLOSE))
        if largest < CLOSE:
            break
    return weights


def fit_linear(features: Array, values: Array, precision: Array) -> Array:
    """Weights of ridge regression with unit noise."""
    curvature = _curvature(features, np.ones(len(features)), precision)
    return _solved(curvature, features.T @ values)


def _solved(curvature: Array, slope: Array) -> Array:
    return np.linalg.solve(curvature, slope).astype(np.float64)


def _curvature(features: Array, row_weights: Array, precision: Array) -> Array:
    weighted: Array = features * np.sqrt(row_weights)[:, None]
    hessian: Array = weighted.T @ weighted  # one operand: half the work of two
    # A column that is 0 in every row, such as logprobs nobody gave, would be singular.
    hessian[np.diag_indices_from(hessian)] += precision + CLOSE
    return hessian
