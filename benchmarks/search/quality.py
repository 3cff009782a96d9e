"""How good the best answer is after so many calls, and for so much money, by search variant.

    python -m benchmarks.search quality [--seeds 200] [--first-seed 0] [--problems "P2 deep" ...]
        [--algorithms fathom ab_mcts_a ...] [--stop]

Means over seeds with their standard errors, and the share of searches that reached a perfect score.
A budget of money counts in calls of the problem's cheapest expert. A variant loses on a problem
where another one's mean is higher by more than two standard errors of their difference; all
variants see the same seeds, and their runs are otherwise independent.

With --stop: what `fathom` makes of its own stop, beside the best fixed number of calls, chosen in
hindsight for each problem. Utility: best score less the price of the calls.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.search.settings import Algorithm
from benchmarks.search.problems import PROBLEMS
from benchmarks.search.runs import Floats, Run, played

BUDGETS: Final = (16, 64, 256)
PRICES: Final = (0.001, 0.004)
"""Of one call of the cheapest expert, in score units, for --stop."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A sample's mean, its standard error, and its share of perfect scores."""

    mean: float
    error: float
    perfect: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.error:.3f}) {self.perfect:4.0%}"

    def beats(self, other: "Figure") -> bool:
        """By more than chance: two standard errors of the difference."""
        return self.mean - other.mean > 2 * float(np.hypot(self.error, other.error))


def figure(scores: Floats) -> Figure:
    """Of one score a seed."""
    error = float(scores.std(ddof=1) / np.sqrt(len(scores)))
    return Figure(float(scores.mean()), error, float((scores >= 1.0).mean()))


def after_calls(run: Run, budget: int) -> float:
    """The best score seen after `budget` calls."""
    return float(run.best[budget - 1])


def for_money(run: Run, budget: int) -> float:
    """The best score seen before `budget` was overspent."""
    within = int(np.searchsorted(run.spent, budget, side="right"))
    return float(run.best[within - 1]) if within else 0.0


def true_worth(run: Run, budget: int) -> float:
    """What the answer is worth that looked best after `budget` calls."""
    return float(run.true[budget - 1])


def believed_worth(run: Run, budget: int) -> float:
    """What the answer is worth that was believed to be worth most after `budget` calls."""
    return float(run.believed[budget - 1])


MEASURES: Final = {
    "calls": after_calls,
    "money": for_money,
    "true worth": true_worth,
    "believed best": believed_worth,
}


def measures(name: str) -> Sequence[str]:
    """What is worth a table of its own: money where prices differ, truth where the judge errs."""
    costs = set(PROBLEMS[name].costs.values())
    return [
        "calls",
        *["money"] * (len(costs) > 1),
        *["true worth", "believed best"] * (PROBLEMS[name].score_noise > 0),
    ]


Figures = Mapping[Algorithm, Sequence[Figure]]


def report(title: str, figures: Figures) -> None:
    """One table: a line a variant, with the budgets at which it loses to another."""
    print(f"\n{title:22}" + "".join(f"{budget:>20}" for budget in BUDGETS) + "   loses at")
    for algorithm, row in figures.items():
        lost = [
            str(budget)
            for column, budget in enumerate(BUDGETS)
            if any(other[column].beats(row[column]) for other in figures.values())
        ]
        print(f"  {algorithm:20}" + "".join(f"{cell!s:>20}" for cell in row), " ", " ".join(lost))


def compare(names: Sequence[str], algorithms: Sequence[Algorithm], seeds: Sequence[int]) -> None:
    """All tables, and at the end the average over problems at equal money."""
    overall: dict[Algorithm, list[Sequence[Figure]]] = {algorithm: [] for algorithm in algorithms}
    for name in names:
        runs = {algorithm: played(name, algorithm, seeds, BUDGETS[-1]) for algorithm in algorithms}
        for measure in measures(name):
            figures = {
                algorithm: [
                    figure(np.array([MEASURES[measure](run, budget) for run in made]))
                    for budget in BUDGETS
                ]
                for algorithm, made in runs.items()
            }
            report(f"{name}, {measure}", figures)
        for algorithm, made in runs.items():
            overall[algorithm].append(
                [figure(np.array([for_money(run, budget) for run in made])) for budget in BUDGETS]
            )
    report("average, money", {a: averages(rows) for a, rows in overall.items()})


def averages(rows: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Over problems, by budget; the error is that of the mean of independent means."""
    return [
        Figure(
            float(np.mean([cell.mean for cell in column])),
            float(np.sqrt(sum(cell.error**2 for cell in column)) / len(column)),
            float(np.mean([cell.perfect for cell in column])),
        )
        for column in zip(*rows, strict=True)
    ]


def stopping(names: Sequence[str], seeds: Sequence[int]) -> None:
    """A line a problem and price: utility of the stop, and of the best fixed number of calls."""
    print(
        f"{'problem':12} {'price':>6} {'stopped':>16} {'calls':>6} {'best fixed':>11} {'calls':>6}"
    )
    for name in names:
        free = played(name, Algorithm.FATHOM, seeds, BUDGETS[-1])
        for price in PRICES:
            value = round(1 / price)
            stopped = played(name, Algorithm.FATHOM, seeds, BUDGETS[-1], value)
            kept = figure(np.array([run.best[-1] - price * run.spent[-1] for run in stopped]))
            fixed = np.mean([run.best - price * run.spent for run in free], axis=0)
            calls = np.mean([run.calls for run in stopped])
            print(
                f"{name:12} {price:6} {kept.mean:8.3f} ({kept.error:.3f}) {calls:6.0f}"
                f" {fixed.max():11.3f} {fixed.argmax() + 1:6}"
            )


def main(arguments: Sequence[str]) -> None:
    """Run what is asked for, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search quality")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--algorithms", nargs="+", type=Algorithm, default=list(Algorithm))
    parser.add_argument("--stop", action="store_true")
    asked = parser.parse_args(arguments)
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    if asked.stop:
        stopping(asked.problems, seeds)
    else:
        compare(asked.problems, asked.algorithms, seeds)
