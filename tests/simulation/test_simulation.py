"""Whatever breaks, in whatever order: the books balance, and every solve ends once."""

import os
import subprocess
import sys

import pytest

from tests.simulation.story import simulate
from tests.simulation.summary import Summary
from tests.simulation.yard import Yard

BLOCKS = 40
SEEDS = 50
"""A block; `python -m tests.simulation` runs as many as there is time for."""


@pytest.mark.timeout(600)  # a laptop under load
@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_order_of_faults_breaks_a_rule(yard: Yard, block: int) -> None:
    """Of the books, the provider's charges, the answers, the keys and the trees."""
    summary = Summary()
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        summary.add(simulate(yard, seed))
    print(*summary.lines(), sep="\n")
    assert {report.seed: report.violations for report in summary.broken} == {}
    # On average 5 solves, 200 effects and 4 faults a seed; a block is few seeds.
    assert summary.solves >= 4 * SEEDS
    assert summary.effects.total() >= 150 * SEEDS
    assert summary.faults.total() >= 3 * SEEDS


def test_seed_tells_the_same_story_in_any_process(yard: Yard) -> None:
    """Or a failure could not be looked at twice: whatever ran before, and however strings hash."""
    told: list[str] = []
    for seed in (7, 8, 7):
        told = []
        simulate(yard, seed, trace=told.append)
    command = [sys.executable, "-m", "tests.simulation", "--seed", "7", "--trace"]
    for hashes in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hashes}
        again = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, check=True
        )
        assert again.stdout.splitlines()[: len(told)] == told
