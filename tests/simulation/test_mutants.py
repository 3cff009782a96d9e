"""The simulation would notice if a rule of the protocol were missing."""

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.story import simulate
from tests.simulation.yard import Yard

SEEDS_MAX = 50
"""Five times what the slowest of them takes."""


@pytest.mark.timeout(600)  # a laptop under load
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_missing_rule_is_noticed(yard: Yard, mutant: Mutant) -> None:
    """Within as many seeds as a run of the tests has to spare."""
    for seed in range(SEEDS_MAX):
        report = simulate(yard, seed, mutant=mutant)
        if report.violations:
            print(f"{mutant.name}: seed {seed}: {report.violations[0]}")
            return
    pytest.fail(f"{mutant.name} was not noticed in {SEEDS_MAX} seeds")
