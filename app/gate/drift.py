"""Alarms when the world no longer is as the gate learned it: cumulative sums of residuals.

Watched are agreement less its predicted chance, the Brier score less what calibration promises, and
audited regret less epsilon (`audited.py`). A change of the model's version is an alarm by itself.
"""

from dataclasses import dataclass
from typing import Final

SLACK: Final = 0.05
"""Drift that is not worth an alarm, a residual."""
LIMIT: Final = 8.0
"""An alarm in about 10,000 residuals of a fair coin, and within 55 once its chance moves by 0.2."""


@dataclass(frozen=True, slots=True)
class Cusum:
    """Page's two one-sided sums (1954) of residuals in [-1, 1] whose mean should be 0."""

    above: float = 0.0
    below: float = 0.0
    limit: float = LIMIT

    def told(self, residual: float) -> "Cusum":
        """After one more residual; what is not a number tells nothing."""
        if residual != residual:  # noqa: PLR0124 - only NaN differs from itself
            return self
        return Cusum(
            above=max(0.0, self.above + residual - SLACK),
            below=max(0.0, self.below - residual - SLACK),
            limit=self.limit,
        )

    @property
    def alarms(self) -> bool:
        """Whether either sum has passed the limit; start anew after it was acted on."""
        return max(self.above, self.below) > self.limit

    @property
    def rises(self) -> bool:
        """Whether the upper one has: where less than was expected is no cause for alarm."""
        return self.above > self.limit


def brier_residual(*, chance: float, right: bool) -> float:
    """The Brier score of one prediction, less what it would be on average were it calibrated."""
    return (right - chance) ** 2 - chance * (1 - chance)
