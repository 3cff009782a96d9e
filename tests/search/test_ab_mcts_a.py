import numpy as np
import pytest

from app.search.ab_mcts_a import ExpertFirst, by_ucb
from app.search.broods import Broods
from app.search.posterior import Gaussian
from app.search.search import Search
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.tally import Tally
from app.search.tree import ROOT, Node, Tree
from tests.search.driving import asked


def told(*nodes: tuple[int, str, float]) -> list[Node]:
    """Nodes of (parent id, expert, score)."""
    tree = Tree()
    for node_id, (parent, expert, score) in enumerate(nodes, start=1):
        tree.add(Node(node_id, parent, tree.depth(parent) + 1, expert, score, 0, node_id))
    return tree.nodes


def broods_of(*nodes: tuple[int, str, float]) -> Broods[Tally]:
    """The arms after these."""
    broods = Broods(Gaussian().arm, Tally, by_expert=False)
    for node in told(*nodes):
        broods.add(node)
    return broods


@pytest.mark.parametrize("expert_choice", ExpertChoice)
@pytest.mark.parametrize(
    "algorithm", [Algorithm.AB_MCTS_A, Algorithm.AB_MCTS_A_BETA, Algorithm.AB_MCTS_M]
)
@pytest.mark.parametrize("max_depth", [1, 2, 3])
def test_no_node_is_deeper_than_max_depth(
    max_depth: int, algorithm: Algorithm, expert_choice: ExpertChoice
) -> None:
    """Where all children are as deep as may be, their parent is expanded; depths are used up."""
    search = Search(
        SearchSettings(
            experts=("m0", "m1"),
            seed=5,
            algorithm=algorithm,
            expert_choice=expert_choice,
            max_nodes=60,
            max_depth=max_depth,
            target_score=None,
            patience=None,
        )
    )
    for number in range(60):
        search.tell(asked(search).id, min(1.0, 0.3 + 0.01 * number), cost=0)
    assert max(node.depth for node in search.nodes) == max_depth


def test_ucb_tries_every_expert_first() -> None:
    """Experts without a score come first, in the order in which they are named."""
    rng = np.random.default_rng(0)
    some = [(0, "m0", 1.0), (0, "m1", 0.0)]
    for tried, expected in enumerate(("m0", "m1", "m2")):
        assert by_ucb(broods_of(*some[:tried]), ("m0", "m1", "m2"), rng) == (expected, 1.0)


def test_ucb_returns_to_the_better_of_two() -> None:
    """Asked equally often, the mean decides."""
    broods = broods_of((0, "m0", 0.2), (0, "m1", 0.6))
    assert by_ucb(broods, ("m0", "m1"), np.random.default_rng(0)) == ("m1", 1.0)


def test_stack_refines_what_an_expert_not_in_use_made() -> None:
    """The gate's first answer may be by a model that the search does not ask."""
    tree, policy = Tree(), ExpertFirst(Gaussian(), max_depth=8)
    for node in told((0, "gate", 0.95), *((0, "m0", 0.05) for _ in range(8))):
        tree.add(node)
        policy.told(node)
    chosen = [policy.choose(tree, ("m0",), (), np.random.default_rng(seed)) for seed in range(50)]
    assert {choice.expert for choice in chosen} == {"m0"}
    assert sum(choice.parent == 1 for choice in chosen) > 25


def test_trials_in_flight_leave_no_trace_in_the_statistics() -> None:
    """As in the published implementation: a trial counts once it is told."""
    settings = SearchSettings(experts=("m0", "m1"), seed=2, max_nodes=2_000)
    search = Search(settings)
    search.adopt("m0", 0.5, cost=0)
    parents = [asked(search).parent for _ in range(1_000)]
    first, second = parents[:500].count(ROOT), parents[500:].count(ROOT)
    assert abs(first - second) < 100
