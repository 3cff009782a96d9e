"""Which policy the settings of a search name."""

from collections.abc import Callable
from functools import partial

from app.search.ab_mcts_a import ExpertFirst, NodeFirst, by_thompson, by_ucb
from app.search.ab_mcts_m import MixedExpertFirst, MixedNodeFirst, Model
from app.search.fathom import Fathom
from app.search.mixed_model import MixedPrior
from app.search.peers import BestFirst, BestOfN, Mcts, Refine, TreeOfThoughts
from app.search.policy import Policy
from app.search.posterior import Belief, Beta, Gaussian
from app.search.settings import Algorithm, ExpertChoice, SearchSettings

BY_NAME: dict[Algorithm, Callable[[SearchSettings], Policy]] = {
    Algorithm.BEST_OF_N: BestOfN,
    Algorithm.REFINE: Refine,
    Algorithm.MCTS: Mcts,
    Algorithm.BEST_FIRST: BestFirst,
    Algorithm.TOT_BFS: TreeOfThoughts,
    Algorithm.FATHOM: Fathom,
}
"""Those that need nothing but the settings."""


def policy_for(settings: SearchSettings) -> Policy:
    """The policy that `settings` names, before anything has happened."""
    match settings.algorithm:
        case Algorithm.AB_MCTS_A:
            return _ab_mcts_a(settings, Gaussian())
        case Algorithm.AB_MCTS_A_BETA:
            return _ab_mcts_a(settings, Beta())
        case Algorithm.AB_MCTS_M:
            return _ab_mcts_m(settings)
        case algorithm:
            return BY_NAME[algorithm](settings)


def _ab_mcts_a(settings: SearchSettings, prior: Belief) -> Policy:
    match settings.expert_choice:
        case ExpertChoice.THOMPSON:
            return NodeFirst(prior, partial(by_thompson, prior), max_depth=settings.max_depth)
        case ExpertChoice.UCB:
            return NodeFirst(prior, by_ucb, max_depth=settings.max_depth)
        case ExpertChoice.STACK:
            return ExpertFirst(prior, max_depth=settings.max_depth)


def _ab_mcts_m(settings: SearchSettings) -> Policy:
    prior = MixedPrior(floor=settings.score_step)
    model = Model(prior, prune=settings.prune, joint=settings.joint_draws)
    match settings.expert_choice:
        case ExpertChoice.THOMPSON:
            return MixedNodeFirst(model, model.expert, max_depth=settings.max_depth)
        case ExpertChoice.UCB:
            return MixedNodeFirst(model, by_ucb, max_depth=settings.max_depth)
        case ExpertChoice.STACK:
            return MixedExpertFirst(model, max_depth=settings.max_depth)
