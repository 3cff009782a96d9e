"""How one search is to be run: fixed when it starts, and together with its log all of its state."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.errors import InvalidRequest
from app.search.experience import Experience


class Algorithm(StrEnum):
    """How the next node to expand is chosen."""

    AB_MCTS_A = "ab_mcts_a"
    AB_MCTS_A_BETA = "ab_mcts_a_beta"
    AB_MCTS_M = "ab_mcts_m"
    BEST_OF_N = "best_of_n"
    REFINE = "refine"
    MCTS = "mcts"
    BEST_FIRST = "best_first"
    TOT_BFS = "tot_bfs"
    FATHOM = "fathom"


class ExpertChoice(StrEnum):
    """How an expert is chosen for it.

    `thompson` and `ucb` choose the node first, then the expert by its record in the whole tree
    (algorithm I); `stack` chooses the expert at each node on the way down (algorithm II).
    """

    THOMPSON = "thompson"
    UCB = "ucb"
    STACK = "stack"


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """`experts` are names; `max_nodes` bounds nodes and trials in flight together.

    `target_score` None never stops on a score. `patience` is how many answers in a row may pass
    without a better best; None is without end. `value` is what one score unit, 0 to 1, is worth in
    units of cost, `pass_value` what a score that reaches the target is; with neither, no price
    stops it. `expected_costs` says what one call of an expert is expected to cost before any was
    paid, `budget` how much the whole search may spend: with both bounds, a node that is used up has
    a price (fathom). `score_step` is the resolution of the scores: 0.1 when they are k of 10.
    `score_noise` is the standard deviation of the evaluator's error: 0 where the same answer would
    always score the same. For AB-MCTS-M: `prune` leaves subtrees of nearly equal scores alone, and
    `joint_draws` draws all arms of a node from one set of parameters.
    `children_per_node` and `beam_width` bound the peers that have a fixed width. For `fathom`:
    `pass_value`, and `experience` of earlier searches. `inherited` counts the events at the head of
    the log that an earlier run has written: patience counts only what has failed since. Raises
    InvalidRequest for what cannot be run.
    """

    experts: tuple[str, ...]
    seed: int
    algorithm: Algorithm = Algorithm.AB_MCTS_A
    expert_choice: ExpertChoice = ExpertChoice.THOMPSON
    max_nodes: int = 16
    max_depth: int = 8
    target_score: float | None = 1.0
    patience: int | None = 6
    value: int | None = None
    pass_value: int | None = None
    expected_costs: tuple[tuple[str, int], ...] = ()
    budget: int | None = None
    score_step: float = 1e-3
    score_noise: float = 0.0
    prune: bool = True
    joint_draws: bool = False
    children_per_node: int = 2
    beam_width: int = 5
    experience: Experience | None = None
    inherited: int = 0

    def __post_init__(self) -> None:
        if not self.experts:
            raise InvalidRequest("experts", "a search needs at least one")
        check_distinct(self.experts)
        for field, value in (
            ("max_nodes", self.max_nodes),
            ("max_depth", self.max_depth),
            ("patience", self.patience),
            ("value", self.value),
            ("pass_value", self.pass_value),
            ("budget", self.budget),
            ("children_per_node", self.children_per_node),
            ("beam_width", self.beam_width),
        ):
            if value is not None and value < 1:
                raise InvalidRequest(field, f"must be at least 1, not {value}")
        if self.target_score is not None and not 0.0 <= self.target_score <= 1.0:
            raise InvalidRequest("target_score", f"must be in [0, 1], not {self.target_score}")
        if not 0.0 < self.score_step <= 1.0:
            raise InvalidRequest("score_step", f"must be in (0, 1], not {self.score_step}")
        if not 0.0 <= self.score_noise <= 1.0:
            raise InvalidRequest("score_noise", f"must be in [0, 1], not {self.score_noise}")
        self._check_costs()

    def _check_costs(self) -> None:
        named = [expert for expert, _ in self.expected_costs]
        if len(set(named)) != len(named):
            raise InvalidRequest("expected_costs", f"named twice in {', '.join(named)}")
        for expert, cost in self.expected_costs:
            if cost < 0:
                raise InvalidRequest("expected_costs", f"{expert} cannot cost {cost}")


def check_distinct(experts: Sequence[str]) -> None:
    """InvalidRequest if an expert is named twice: it would be drawn for twice as often."""
    if len(set(experts)) != len(experts):
        raise InvalidRequest("experts", f"named twice in {', '.join(experts)}")
