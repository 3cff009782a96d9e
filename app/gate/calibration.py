"""From a head's log-odds to a chance that holds: Platt below 200 labels, beta above.

Isotonic regression is not offered: below a thousand labels its steps are noise.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from app.gate.logistic import Array, fit_logistic, probability

BETA_FROM: Final = 200
"""Labels; the third parameter of beta calibration costs more than it brings before."""
PRECISION: Final = 0.1


@dataclass(frozen=True, slots=True)
class Calibration:
    """log-odds = a * log p - b * log(1 - p) + c; Platt's is the one with a = b.

    Kull, Silva Filho, Flach 2017, Beta calibration. a and b are never negative, so the order of two
    chances is never turned round.
    """

    a: float
    b: float
    c: float

    def applied(self, chances: Array) -> Array:
        """The calibrated chances."""
        logs = _logs(chances)
        return probability(logs @ np.array([self.a, self.b, self.c]))


IDENTITY: Final = Calibration(1.0, 1.0, 0.0)


def calibrated(chances: Array, labels: Array) -> Calibration:
    """Fitted on predictions for problems that the head was not fitted on.

    The prior is that nothing needs to change; with a single kind of label, nothing does.
    """
    if len(labels) == 0 or labels.min() == labels.max():
        return IDENTITY
    if len(labels) >= BETA_FROM:
        a, b, c = _fit(_logs(chances), labels)
        if a >= 0 and b >= 0:
            return Calibration(a, b, c)
    a, c = _fit(_logs(chances) @ np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), labels)
    return Calibration(max(a, 0.0), max(a, 0.0), c)


def _fit(columns: Array, labels: Array) -> list[float]:
    precision = np.full(columns.shape[1], PRECISION)
    return [float(weight) for weight in fit_logistic(columns, labels, precision)]


def _logs(chances: Array) -> Array:
    bounded = np.clip(chances, 1e-9, 1 - 1e-9)
    return np.stack((np.log(bounded), -np.log1p(-bounded), np.ones_like(bounded)), axis=-1)
