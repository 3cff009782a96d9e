"""How long a wait is likely to be, from how fast turns end while others wait. Pure."""

import math
from collections import deque
from typing import Final

REMEMBERED: Final = 64
"""Ends that are remembered: enough to be steady, few enough to be recent."""

SHORTEST_S: Final = 1
LONGEST_S: Final = 60
UNKNOWN_S: Final = 5
"""Where nothing has ended yet."""


class Pace:
    """When turns ended since a queue formed, in seconds of any clock that only goes forward."""

    def __init__(self) -> None:
        self._ends = deque[float](maxlen=REMEMBERED)

    def begin(self, at_s: float) -> None:
        """A queue forms: how fast turns ended while there was none says nothing about it."""
        self._ends.clear()
        self._ends.append(at_s)

    def ended(self, at_s: float) -> None:
        """A turn ended."""
        self._ends.append(at_s)

    def wait_s(self, ahead: int, *, at_s: float) -> int:
        """Whole seconds until `ahead` more turns have likely ended, in bounds.

        Up to now, and not to the last end: where nothing ends any more the wait grows with time.
        """
        ended = len(self._ends) - 1
        if ended < 1:
            shortest, wait_s = UNKNOWN_S, at_s - self._ends[0] if self._ends else 0.0
        else:
            shortest, wait_s = SHORTEST_S, ahead * (at_s - self._ends[0]) / ended
        return min(LONGEST_S, max(shortest, math.ceil(wait_s)))
