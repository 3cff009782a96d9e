"""`python -m tests.simulation`: as many seeds as there is time for, or one of them told in full."""

import argparse
import sys

from tests.simulation.story import simulate
from tests.simulation.summary import Summary
from tests.simulation.yard import Yard


def main() -> None:
    """Exit 1, naming the seeds, where a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="tell every step")
    options = parser.parse_args()
    first, seeds = options.first_seed, options.seeds
    if options.seed is not None:
        first, seeds = options.seed, 1
    yard, summary = Yard(), Summary()
    for seed in range(first, first + seeds):
        report = simulate(yard, seed, trace=print if options.trace else None)
        summary.add(report)
        for violation in report.violations:
            print(f"seed {seed}: {violation}", flush=True)
    print(*summary.lines(), sep="\n")
    sys.exit(1 if summary.broken else 0)


if __name__ == "__main__":
    main()
