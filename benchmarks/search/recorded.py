"""Solve rate against dollars where the answers, the verifier's scores and the costs are real.

    python -m benchmarks.search recorded [--problems 800] [--algorithms fathom ab_mcts_a ...]

Each call of a model on a problem of Reasoning Gym is the next of its three recorded samples, at
what that sample cost; then the model is used up. No refinement was recorded, so all answers are
fresh and a search only chooses whom to ask. It stops at the verifier's full score, and is told
beforehand what a call of each model costs on the average. Beside the search variants two plain
orders: a sample of each model in turn, and all samples of the cheapest first.

`experienced` is `fathom` with what its own searches in one half of the problems taught, by
category, on the problems of the other half.
"""

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter

from app.search.experience import Experience
from app.search.lessons import lessons
from app.search.search import Search
from app.search.settings import Algorithm, SearchSettings
from app.search.tree import Node
from app.search.trial import Trial

DATA: Final = Path(__file__).parents[1] / "data" / "reasoning_gym.jsonl.gz"
BUDGETS_USD: Final = (0.0003, 0.001, 0.003, 0.01, 0.03)
WEIGHT: Final = 6.0
"""Of experience: fresh answers an expert."""

Call = tuple[float, int]
"""The verifier's score, and the cost in nano-dollars."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A problem, and each model's calls in the order they were recorded."""

    id: str
    task: str
    category: str
    calls: Mapping[str, list[Call]]


Course = list[Call]
"""The calls that were made on a problem, up to the one that solved it or to the last."""
Costs = tuple[tuple[str, int], ...]
Way = Callable[[Recorded, int], Course]
"""How to go about a problem; the number seeds what is random in it."""


def problems(count: int) -> list[Recorded]:
    """The first `count` problems."""
    adapter = TypeAdapter(Recorded)
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return [adapter.validate_python(json.loads(line)) for line in lines][:count]


def solved_by(calls: Sequence[Call]) -> Course:
    """The calls up to the first with a full score."""
    course: Course = []
    for call in calls:
        course.append(call)
        if call[0] >= 1.0:
            break
    return course


def in_turn(problem: Recorded, _seed: int) -> Course:
    """A sample of each model, cheapest first, then another of each."""
    rounds = zip(*(problem.calls[model] for model in cheapest_first(problem)), strict=True)
    return solved_by([call for calls in rounds for call in calls])


def cheap_to_strong(problem: Recorded, _seed: int) -> Course:
    """All samples of the cheapest model, then of the next."""
    return solved_by([call for model in cheapest_first(problem) for call in problem.calls[model]])


def cheapest_first(problem: Recorded) -> list[str]:
    """The models in the order of the data, which is that of their prices."""
    return list(problem.calls)


def searched(settings: SearchSettings, problem: Recorded) -> tuple[Course, Sequence[Node]]:
    """The calls that a search made, and its nodes."""
    search = Search(settings)
    left = {model: list(problem.calls[model]) for model in problem.calls}
    course: Course = []
    while any(left.values()) and isinstance(trial := search.ask(), Trial):
        score, cost = left[trial.expert].pop(0)
        search.tell(trial.id, score, cost)
        course.append((score, cost))
        if not left[trial.expert]:
            search.set_experts(tuple(model for model in left if left[model]) or (trial.expert,))
    return course, search.nodes


def settings_for(
    algorithm: Algorithm, problem: Recorded, seed: int, costs: Costs
) -> SearchSettings:
    """Fresh answers alone, until one has the full score."""
    return SearchSettings(
        experts=tuple(problem.calls),
        seed=seed,
        algorithm=algorithm,
        max_nodes=sum(map(len, problem.calls.values())),
        max_depth=1,
        patience=None,
        expected_costs=costs,
    )


def typical_costs(recorded: Sequence[Recorded]) -> Costs:
    """The mean cost of a call of each model."""
    return tuple(
        (model, round(np.mean([cost for problem in recorded for _, cost in problem.calls[model]])))
        for model in recorded[0].calls
    )


def by_search(algorithm: Algorithm, costs: Costs) -> Way:
    """A search that knows nothing beforehand but costs."""

    def way(problem: Recorded, seed: int) -> Course:
        return searched(settings_for(algorithm, problem, seed, costs), problem)[0]

    return way


def experienced(taught: Sequence[Recorded], costs: Costs) -> Way:
    """`fathom` with the lessons of its searches on `taught`, of the problem's own category."""
    nodes: dict[str, list[Sequence[Node]]] = defaultdict(list)
    for seed, problem in enumerate(taught):
        settings = settings_for(Algorithm.FATHOM, problem, seed, costs)
        nodes[problem.category].append(searched(settings, problem)[1])
    experience: dict[str, Experience] = {
        category: lessons(searches).weighing(WEIGHT, WEIGHT, WEIGHT)
        for category, searches in nodes.items()
    }

    def way(problem: Recorded, seed: int) -> Course:
        settings = settings_for(Algorithm.FATHOM, problem, seed, costs)
        known = replace(settings, experience=experience.get(problem.category))
        return searched(known, problem)[0]

    return way


def report(name: str, courses: Sequence[Course]) -> None:
    """A line: the share solved within each budget, and when all calls may be made, and its cost."""
    spent = np.array([sum(cost for _, cost in course) / 1e9 for course in courses])
    solved = np.array([course[-1][0] >= 1.0 for course in courses])
    shares = [float((solved & (spent <= budget)).mean()) for budget in BUDGETS_USD]
    cells = "".join(f"{share:9.1%}" for share in (*shares, float(solved.mean())))
    print(f"{name:18}{cells}{spent[solved].mean():12.5f}")


def main(arguments: Sequence[str]) -> None:
    """Run what is asked for, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search recorded")
    parser.add_argument("--problems", type=int, default=800)
    parser.add_argument("--algorithms", nargs="+", type=Algorithm, default=list(Algorithm))
    asked = parser.parse_args(arguments)
    recorded = problems(asked.problems)
    costs = typical_costs(recorded)
    halves = recorded[::2], recorded[1::2]
    print(
        f"{len(recorded)} problems: share solved within so many dollars each, and mean cost of it"
    )
    print(" " * 18 + "".join(f"{budget:9}" for budget in BUDGETS_USD) + "      any     a solve")
    ways: dict[str, Way] = {"in turn": in_turn, "cheap to strong": cheap_to_strong}
    ways |= {str(algorithm): by_search(algorithm, costs) for algorithm in asked.algorithms}
    for name, way in ways.items():
        report(name, [way(problem, seed) for seed, problem in enumerate(recorded)])
    courses: list[Course] = []
    for taught, tested in (halves, halves[::-1]):
        way = experienced(taught, costs)
        courses += [way(problem, seed) for seed, problem in enumerate(tested)]
    report("experienced", courses)
