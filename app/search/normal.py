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
    # In place from here: this is where a search spends most of its time.
    series = 1.330274429 * t
    for coefficient in (-1.821255978, 1.781477937, -0.356563782, 0.319381530):
        series += coefficient
        series *= t
    size *= size
    size *= -0.5
    np.exp(size, out=size)
    series *= size
    series *= 0.3989422804014327
    return np.where(x < 0.0, series, 1.0 - series)
