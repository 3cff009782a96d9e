"""What an ask and a tell cost: CPU time, memory and log, on trees that each variant grew itself.

The yardstick is a fixed loop of numpy calls, timed in between: a figure is comparable with one from
another machine, or from a busy one, by its ratio to the yardstick. Every figure is the median of
`CHUNKS` stretches of the search's own growth, with the problem's own time taken off.
"""

import argparse
import gc
import json
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from time import process_time
from typing import Protocol

import numpy as np

from app.search.codec import decode, encode
from app.search.search import Search, replay
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.trial import Trial
from tests.reference.abmcts.problems import PROBLEMS, State

CHUNKS = 5
CHUNK = 40
"""Asks and tells in a stretch; a tenth of the tree, where that is less."""

CASES = (
    ("P1_wide", Algorithm.AB_MCTS_A, ExpertChoice.THOMPSON),
    ("P3_multi", Algorithm.AB_MCTS_A, ExpertChoice.THOMPSON),
    ("P3_multi", Algorithm.AB_MCTS_A, ExpertChoice.STACK),
    ("P3_multi", Algorithm.AB_MCTS_A_BETA, ExpertChoice.THOMPSON),
    ("P1_wide", Algorithm.AB_MCTS_M, ExpertChoice.THOMPSON),
    ("P3_multi", Algorithm.AB_MCTS_M, ExpertChoice.THOMPSON),
    ("P3_multi", Algorithm.AB_MCTS_M, ExpertChoice.STACK),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """Milliseconds of CPU an ask and tell at a tree's size, and the yardstick's beside it."""

    nodes: int
    ask_tell_ms: float
    yardstick_ms: float


class Grows(Protocol):
    """A tree search at work on a problem."""

    @property
    def size(self) -> int:
        """Nodes in its tree."""
        ...

    def grow(self, count: int) -> float:
        """Ask and tell so often; the CPU seconds that the engine took."""
        ...


class Growing:
    """A search with the state of each of its answers."""

    def __init__(self, problem: str, settings: SearchSettings) -> None:
        self.search = Search(settings)
        self._answer, _ = PROBLEMS[problem]
        self._rng = np.random.default_rng(settings.seed)
        self._states: list[State | None] = [None]

    @property
    def size(self) -> int:
        """Nodes in its tree."""
        return len(self.search.nodes)

    def grow(self, count: int) -> float:
        """Ask and tell so often; the CPU seconds that the engine took."""
        engine_s = 0.0
        for _ in range(count):
            start = process_time()
            trial = self.search.ask()
            asked = process_time()
            assert isinstance(trial, Trial), trial
            state = self._answer(trial.expert, self._states[trial.parent], self._rng)
            answered = process_time()
            self.search.tell(trial.id, state["score"], cost=1)
            engine_s += process_time() - answered + asked - start
            self._states.append(state)
        return engine_s


def endless(
    problem: str, algorithm: Algorithm, expert_choice: ExpertChoice, nodes: int, *, seed: int = 1
) -> SearchSettings:
    """Settings under which a search reaches twice so many nodes."""
    _, experts = PROBLEMS[problem]
    return SearchSettings(
        experts=tuple(experts),
        seed=seed,
        algorithm=algorithm,
        expert_choice=expert_choice,
        max_nodes=2 * nodes,
        max_depth=1_000_000,
        target_score=None,
        patience=None,
    )


def yardstick_s() -> float:
    """A fixed mix of small numpy calls, as an ask makes them."""
    rng = np.random.default_rng(0)
    start = process_time()
    for _ in range(100):
        drawn = rng.standard_normal((8, 32))
        drawn *= 0.5
        drawn.argmax(axis=0)
        np.exp(drawn[0]).sum()
    return process_time() - start


def figures(growing: Grows, sizes: Sequence[int]) -> list[Figure]:
    """One a size, the tree growing from one to the next."""
    found: list[Figure] = []
    for size in sizes:
        growing.grow(size - growing.size)
        chunk = min(CHUNK, max(1, size // 10))
        engine: list[float] = []
        yard: list[float] = []
        for _ in range(CHUNKS):
            yard.append(yardstick_s())
            engine.append(growing.grow(chunk) / chunk)
        found.append(Figure(size, median(engine) * 1000, median(yard) * 1000))
    return found


def bytes_a_node(search: Search, settings: SearchSettings) -> tuple[float, float]:
    """Memory of a search replayed from the log, the log in it included; and the log as JSON."""
    log = list(search.log)
    records = sum(len(json.dumps(encode(event), separators=(",", ":"))) for event in log)
    lines = [json.dumps(encode(event)) for event in log]
    held = measured(lambda: replay(settings, (decode(json.loads(line)) for line in lines)))
    return held / len(search.nodes), records / len(search.nodes)


def measured(build: Callable[[], object]) -> int:
    """Bytes that what `build` returns holds on to."""
    gc.collect()
    tracemalloc.start()
    built = build()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del built
    return held


def main(arguments: Sequence[str]) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search speed", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--trees", type=int, default=4, help="how deep one grows is chance")
    asked = parser.parse_args(arguments)
    sizes: list[int] = asked.sizes
    trees: int = asked.trees
    print("ms CPU an ask and tell, the mean of several trees (beside it the yardstick, ms);")
    print("bytes a node in memory and as log")
    for problem, algorithm, expert_choice in CASES:
        grown = [
            Growing(problem, endless(problem, algorithm, expert_choice, max(sizes), seed=seed))
            for seed in range(1, trees + 1)
        ]
        by_size = zip(*(figures(growing, sizes) for growing in grown), strict=True)
        cells = [
            f"{found[0].nodes}: {fmean(one.ask_tell_ms for one in found):.3f}"
            f" ({fmean(one.yardstick_ms for one in found):.2f})"
            for found in by_size
        ]
        settings = endless(problem, algorithm, expert_choice, max(sizes))
        held, logged = bytes_a_node(grown[0].search, settings)
        name = f"{algorithm} {expert_choice} {len(settings.experts)} expert(s) {problem}"
        print(f"{name:45} {'  '.join(cells)}  {held:.0f} B + {logged:.0f} B", flush=True)
