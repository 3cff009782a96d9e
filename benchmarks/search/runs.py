"""One search on one synthetic problem, call by call, and many of them on all cores but none."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from app.search.judge import Judge
from app.search.search import Search
from app.search.settings import Algorithm, SearchSettings
from app.search.trial import Trial
from benchmarks.search.problems import PROBLEMS, Answer, Problem

Floats = npt.NDArray[np.float64]

WORKERS = 2


@dataclass(frozen=True, slots=True)
class Run:
    """After each call: the best score seen, what the answer that has it is worth, money spent.

    `believed`: what the answer is worth that is believed to be worth most.

    All have one length; where the search stopped before, the last figures are repeated.
    """

    best: Floats
    true: Floats
    believed: Floats
    spent: Floats
    calls: int
    """How many calls were made."""


def play(problem: Problem, algorithm: Algorithm, seed: int, calls: int, value: int | None) -> Run:
    """Search until `calls` are made, a perfect score is seen, or the search stops itself."""
    search = Search(settings(problem, algorithm, seed, calls, value))
    rng = np.random.default_rng([seed, 1])
    answers: list[Answer | None] = [None]
    best, spent = Answer(0.0, 0.0), 0
    judge, believed = Judge(problem.score_noise), best
    record: list[tuple[float, float, float, float]] = []
    while len(record) < calls and isinstance(trial := search.ask(), Trial):
        cost = problem.costs[trial.expert]
        answer = problem.attempt(trial.expert, answers[trial.parent], rng)
        if answer is None:
            search.abandon(trial.id, cost, "no answer")
        else:
            search.tell(trial.id, answer.score, cost)
            answers.append(answer)
            believed_before = judge.best
            judge.told(search.nodes[-1])
            if judge.best > believed_before:
                believed = answer
            best = max(best, answer, key=lambda candidate: candidate.score)
        spent += cost
        record.append((best.score, best.true, believed.true, spent))
    made = len(record)
    columns = np.array(record + record[-1:] * (calls - made)).T
    return Run(columns[0], columns[1], columns[2], columns[3], made)


def settings(
    problem: Problem, algorithm: Algorithm, seed: int, calls: int, value: int | None
) -> SearchSettings:
    """Settings that bound a search by `calls`, by a perfect score, and by any `value`."""
    return SearchSettings(
        experts=tuple(problem.costs),
        seed=seed,
        algorithm=algorithm,
        max_nodes=calls,
        max_depth=1_000_000,
        patience=None,
        value=value,
        expected_costs=tuple(problem.costs.items()),
        score_step=problem.score_step,
        score_noise=problem.score_noise,
    )


def played(
    name: str, algorithm: Algorithm, seeds: Sequence[int], calls: int, value: int | None = None
) -> list[Run]:
    """A run a seed, in order of `seeds`; by several processes."""
    chunk = max(1, len(seeds) // (4 * WORKERS))
    with ProcessPoolExecutor(WORKERS) as workers:
        return list(
            workers.map(
                _play, repeat(name), repeat(algorithm), seeds, repeat(calls), repeat(value),
                chunksize=chunk,
            )
        )  # fmt: skip


def _play(name: str, algorithm: Algorithm, seed: int, calls: int, value: int | None) -> Run:
    return play(PROBLEMS[name], algorithm, seed, calls, value)
