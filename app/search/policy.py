"""The seam between the search's bookkeeping and the algorithm that chooses.

A policy sees the tree and a generator made for this one ask, and keeps nothing in between: what it
needs to know it finds in the tree. That is why a search replays.
"""

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Protocol

from app.search.ab_mcts_a import ExpertFirst, NodeFirst, by_thompson, by_ucb
from app.search.posterior import Belief, Beta, Gaussian
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.tree import Tree

PRIORS: dict[Algorithm, Belief] = {
    Algorithm.AB_MCTS_A: Gaussian(),
    Algorithm.AB_MCTS_A_BETA: Beta(),
}


class Policy(Protocol):
    """Chooses what to try next."""

    def choose(self, tree: Tree, experts: Sequence[str], rng: Random) -> tuple[int, str]:
        """The node to expand and which of `experts` (at least one) to expand it with."""
        ...


def policy_for(settings: SearchSettings) -> Policy:
    """The policy that `settings` names."""
    prior, max_depth = PRIORS[settings.algorithm], settings.max_depth
    match settings.expert_choice:
        case ExpertChoice.THOMPSON:
            return NodeFirst(prior, partial(by_thompson, prior), max_depth=max_depth)
        case ExpertChoice.UCB:
            return NodeFirst(prior, by_ucb, max_depth=max_depth)
        case ExpertChoice.STACK:
            return ExpertFirst(prior, max_depth=max_depth)
