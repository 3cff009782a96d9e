"""Random numbers for one ask at a time.

The n-th ask of a search draws the same numbers in every process, however many the asks before it
drew. What numpy makes of them may change between its releases; a log does not depend on it, for
replay repeats no draw.
"""

import numpy as np

KEYS = 2**128


class Draws:
    """One counter-based generator (Philox), set to its place for every ask.

    Setting it takes 1 us where making one, or hashing a seed, takes 10. Key: the search's seed.
    Counter: the ask's number in the highest of four words, so the streams of two asks would meet
    after 2^192 blocks.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.Philox(key=seed % KEYS)
        self._start = self._bits.state
        self._counter = self._start["state"]["counter"]
        self._generator = np.random.Generator(self._bits)

    def of_ask(self, number: int) -> np.random.Generator:
        """The generator for this ask; the one handed out before is set to it too."""
        self._counter[3] = number
        self._bits.state = self._start
        return self._generator
