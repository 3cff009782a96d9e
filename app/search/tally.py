"""Exact sums of scores.

A score is counted in units of 2^-40, a whole number. So sums are exact: they do not depend on the
order of adding, can be taken apart again, and lose nothing to rounding among millions.
"""

from dataclasses import dataclass, field

UNIT = 2**40
UNIT_SQUARED = 2**80


@dataclass(slots=True)
class Tally:
    """Count, sum and sum of squares of some scores, in units: all that any belief here needs."""

    n: int = 0
    total: int = 0
    squares: int = 0

    def add(self, score: float) -> None:
        """Count one more score."""
        units = round(score * UNIT)
        self.n += 1
        self.total += units
        self.squares += units * units

    def merge(self, other: "Tally") -> None:
        """Count all scores of `other` too."""
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    def without(self, part: "Tally") -> "Tally":
        """These scores but for those in `part`, all of which are among them."""
        return Tally(self.n - part.n, self.total - part.total, self.squares - part.squares)

    @property
    def sum(self) -> float:
        """The sum of the scores."""
        return self.total / UNIT

    @property
    def square_sum(self) -> float:
        """The sum of their squares."""
        return self.squares / UNIT_SQUARED

    @property
    def mean(self) -> float:
        """Mean score; 0 for none, where no formula gives it any weight."""
        return self.total / (self.n * UNIT) if self.n else 0.0

    @property
    def deviation(self) -> float:
        """Sum of squared deviations from the mean."""
        if not self.n:
            return 0.0
        return (self.n * self.squares - self.total * self.total) / (self.n * UNIT_SQUARED)


@dataclass(slots=True)
class Census(Tally):
    """A tally that also counts how many scores round to each whole percent.

    `most` is the largest of these counts.
    """

    percents: dict[int, int] = field(default_factory=dict[int, int])
    most: int = 0

    def add(self, score: float) -> None:
        """Count one more score."""
        Tally.add(self, score)
        self._count(round(100 * score), 1)

    def merge(self, other: Tally) -> None:
        """Count all scores of `other` too, which must be a census."""
        assert isinstance(other, Census), "a tally has forgotten which scores it counted"
        Tally.merge(self, other)
        for percent, count in other.percents.items():
            self._count(percent, count)

    def _count(self, percent: int, more: int) -> None:
        count = self.percents[percent] = self.percents.get(percent, 0) + more
        self.most = max(self.most, count)
