"""`python -m tests.simulation`: as many seeds as there is time for, or one of them told in full."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import Final

from tests.simulation.many import BLOCK, told_by
from tests.simulation.story import Report, simulate
from tests.simulation.summary import Summary
from tests.simulation.yard import Yard

PROGRESS: Final = 10_000


def main() -> None:
    """Exit 1, naming the seeds, where a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="tell every step")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at most so many")
    options = parser.parse_args()
    first, seeds = options.first_seed, options.seeds
    if options.seed is not None:
        first, seeds = options.seed, 1
    began_s, summary = time.monotonic(), Summary()
    told: Iterator[Report]
    if options.trace or seeds <= BLOCK:
        yard, trace = Yard(), print if options.trace else None
        told = (simulate(yard, seed, trace=trace) for seed in range(first, first + seeds))
    else:
        told = told_by(options.processes, first, first + seeds)
    for report in told:
        summary.add(report)
        for violation in report.violations:
            print(f"seed {report.seed}: {violation}", flush=True)
        if summary.seeds % PROGRESS == 0:
            print(f"{summary.seeds} seeds, {len(summary.broken)} with violations", flush=True)
    print(*summary.lines(), f"{time.monotonic() - began_s:.0f} s", sep="\n")
    sys.exit(1 if summary.broken else 0)


if __name__ == "__main__":
    main()
