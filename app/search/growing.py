"""A table of numbers that is appended to row by row and computed with all at once."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Growing:
    """`count` rows, each a number or (with a width) several; memory doubles when it is full."""

    def __init__(self, *width: int) -> None:
        self._memory: Floats = np.zeros((8, *width))
        self.count = 0

    def append(self, row: Floats | float) -> None:
        """One more row; a single number stands for a row full of it."""
        if self.count == len(self._memory):
            self._move(2 * self.count, *self._memory.shape[1:])
        self._memory[self.count] = row
        self.count += 1

    def widen(self) -> None:
        """One more number in every row: zero."""
        rows, width = self._memory.shape
        self._move(rows, width + 1)

    @property
    def rows(self) -> Floats:
        """All rows, not a copy: what is written here is kept. Void after the next append."""
        return self._memory[: self.count]

    def _move(self, *shape: int) -> None:
        """Into memory of a larger shape."""
        old, self._memory = self._memory, np.zeros(shape)
        self._memory[tuple(slice(length) for length in old.shape)] = old
