"""Many seeds in several processes, in the order of the seeds."""

from collections.abc import Iterator
from functools import cache
from multiprocessing import get_context
from typing import Final

from tests.simulation.story import Report, simulate
from tests.simulation.yard import Yard

BLOCK: Final = 100
"""Seeds that a process takes at a time."""


def told_by(processes: int, first: int, end: int) -> Iterator[Report]:
    """What each seed from `first` to before `end` tells."""
    blocks = [(seed, min(seed + BLOCK, end)) for seed in range(first, end, BLOCK)]
    # Each begins anew: a fork would share the parent's connections.
    with get_context("spawn").Pool(processes, maxtasksperchild=BLOCK) as pool:
        for reports in pool.imap(_block, blocks):
            yield from reports


def _block(seeds: tuple[int, int]) -> list[Report]:
    return [simulate(_yard(), seed) for seed in range(*seeds)]


@cache
def _yard() -> Yard:
    return Yard()  # made once a process: it takes as long as two seeds
