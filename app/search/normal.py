"""The normal distribution function, over arrays; numpy itself has none."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def cdf(x: Floats) -> Floats:
    """P(Z <= x) for a standard normal Z, within 7.5e-8.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17.
    """
    size = np.abs(x)
    t = 1.0 / (1.0 + 0.2316419 * size)
    series = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    tail = 0.3989422804014327 * np.exp(-0.5 * size * size) * series
    return np.where(x < 0.0, tail, 1.0 - tail)
