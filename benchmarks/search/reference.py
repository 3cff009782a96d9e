"""The published implementation of AB-MCTS beside ours: CPU an ask and tell, in one run.

Both solve the same problem, each on the tree that it grew itself to the same size; the problem's
own time is taken off. The published AB-MCTS-M samples by MCMC for seconds an ask, so that its part
takes a minute or two. It is in no environment of this project, but in a dependency group of its
own: `pip install --group reference`.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from time import process_time
from typing import Protocol

import numpy as np

from app.search.settings import Algorithm, ExpertChoice
from benchmarks.search.speed import Growing, Grows, endless, figures
from tests.reference.abmcts.problems import PROBLEMS, State

MISSING = (
    "This needs the published implementation: pip install --group reference (pip 25.1 or later)."
)

Answer = Callable[[State | None], tuple[State, float]]


class PublishedAlgorithm(Protocol):
    """What is used of the published implementation's algorithms."""

    def init_tree(self) -> object:
        """A search before its first step."""
        ...

    def step(self, state: object, generate_fn: Mapping[str, Answer], *, inplace: bool) -> object:
        """Ask, have an expert answer, tell."""
        ...


class Published:
    """A search by the published implementation."""

    def __init__(self, problem: str, algorithm: PublishedAlgorithm) -> None:
        self._answer, experts = PROBLEMS[problem]
        self._algorithm = algorithm
        self._search = algorithm.init_tree()
        self._experts = {expert: self._expert(expert) for expert in experts}
        self._rng = np.random.default_rng(1)
        self._answering_s = 0.0
        self._size = 0

    @property
    def size(self) -> int:
        """Nodes in its tree."""
        return self._size

    def grow(self, count: int) -> float:
        """Step so often; the CPU seconds that the engine took, in all its threads."""
        start, answering_s = process_time(), self._answering_s
        for _ in range(count):
            self._search = self._algorithm.step(self._search, self._experts, inplace=True)
        self._size += count
        return process_time() - start - (self._answering_s - answering_s)

    def _expert(self, name: str) -> Answer:
        def answer(parent: State | None) -> tuple[State, float]:
            start = process_time()
            state = self._answer(name, parent, self._rng)
            self._answering_s += process_time() - start
            return state, state["score"]

        return answer


def compare(title: str, published: Grows, ours: Grows, sizes: Sequence[int], *, goal: str) -> None:
    """Print one table."""
    print(f"\n{title}: ms CPU an ask and tell (goal: {goal})")
    print(f"{'nodes':>6} {'published':>12} {'ours':>8} {'ratio':>8}")
    both = zip(sizes, figures(published, sizes), figures(ours, sizes), strict=True)
    for size, theirs, own in both:
        ratio = theirs.ask_tell_ms / own.ask_tell_ms
        print(
            f"{size:6} {theirs.ask_tell_ms:12.3f} {own.ask_tell_ms:8.3f} {ratio:8,.0f}", flush=True
        )


def main(arguments: Sequence[str]) -> None:
    """AB-MCTS-A with three experts, then AB-MCTS-M with one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search reference", description=__doc__
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1_000], help="of A")
    parser.add_argument("--mixed-sizes", type=int, nargs="*", default=[10], help="of M")
    options = parser.parse_args(arguments)
    sizes: list[int] = options.sizes
    mixed_sizes: list[int] = options.mixed_sizes
    try:
        library = import_module("treequest")
    except ImportError:
        sys.exit(MISSING)
    node: PublishedAlgorithm = library.ABMCTSA()
    compare(
        "AB-MCTS-A, Gaussian, 3 experts",
        Published("P3_multi", node),
        ours("P3_multi", Algorithm.AB_MCTS_A, max(sizes)),
        sizes,
        goal="100 times less at 1,000 nodes",
    )
    if mixed_sizes:
        logging.disable(logging.WARNING)  # the sampler reports on every fit
        mixed: PublishedAlgorithm = library.ABMCTSM(max_process_workers=1)
        compare(
            "AB-MCTS-M, 1 expert",
            Published("P1_wide", mixed),
            ours("P1_wide", Algorithm.AB_MCTS_M, max(mixed_sizes)),
            mixed_sizes,
            goal="5,000 times less at 10 nodes",
        )


def ours(problem: str, algorithm: Algorithm, nodes: int) -> Growing:
    """A search by this engine, which is to reach so many nodes."""
    return Growing(problem, endless(problem, algorithm, ExpertChoice.THOMPSON, nodes))
