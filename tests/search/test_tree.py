import sys
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.broods import CONTENDERS, SHARED, Brood, Broods
from app.search.events import Asked, Event, Told
from app.search.posterior import Gaussian
from app.search.search import Search, replay
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.tally import Tally
from app.search.tree import ROOT, Node
from app.search.trial import Trial
from tests.search.driving import EXPERTS, asked, scores

DEEP = 10_000
"""Nodes in a chain: ten times the frames that Python allows."""

# Where each node hangs (taken modulo the nodes there are), who made it, and its score.
growths = st.lists(
    st.tuples(st.integers(0, 3) | st.integers(0, 30), st.sampled_from(EXPERTS), scores), max_size=30
)


def node_of(node_id: int, parent: int, expert: str, score: float) -> Node:
    """A node at no depth in particular."""
    return Node(node_id, parent, 0, expert, score, 0, node_id)


def descendants(nodes: Sequence[Node], ancestor: int) -> list[Node]:
    """All nodes below `ancestor`, found the slow way: by climbing up from every node."""

    def ancestors(node: Node) -> list[int]:
        above = [node.parent]
        while above[-1] != ROOT:
            above.append(nodes[above[-1] - 1].parent)
        return above

    return [node for node in nodes if ancestor in ancestors(node)]


def assert_tallies(tally: Tally, counted: Sequence[float]) -> None:
    """`tally` is of exactly these scores."""
    assert tally.n == len(counted)
    assert tally.sum == pytest.approx(sum(counted), abs=1e-9)
    assert tally.square_sum == pytest.approx(sum(score**2 for score in counted), abs=1e-9)


@pytest.mark.parametrize("by_expert", [False, True])
@given(growth=growths, looks=st.sets(st.integers(0, 30)))
def test_statistics_equal_a_recount(
    *, growth: list[tuple[int, str, float]], looks: set[int], by_expert: bool
) -> None:
    """Own: direct children. Deeper: descendants of these only. Subtree: the node and all below it.

    No matter when somebody looked before.
    """
    broods = Broods(Gaussian().arm, Tally, by_expert=by_expert)
    nodes: list[Node] = []
    for number, (place, expert, score) in enumerate(growth):
        nodes.append(node_of(number + 1, place % (number + 1), expert, score))
        broods.add(nodes[-1])
        if number in looks:
            broods.brood(ROOT)
    for node_id in range(len(nodes) + 1):
        below = descendants(nodes, node_id)
        for pool, brood in broods.pools(node_id).items():
            children = [n for n in below if n.parent == node_id and pool in {SHARED, n.expert}]
            lines = [n for child in children for n in (child, *descendants(nodes, child.id))]
            deeper = [n.score for n in lines if n not in children]
            assert_tallies(brood.own, [n.score for n in children])
            assert_tallies(brood.deeper, deeper)
            assert_brood(brood, children, nodes)
        if node_id != ROOT:
            own = nodes[node_id - 1].score
            assert_tallies(broods.subtree(node_id), [own, *(n.score for n in below)])
            row = broods.rows([node_id])[0].tolist()
            assert row == list(Gaussian().arm(broods.subtree(node_id)))
    for expert, tally in broods.record.items():
        assert_tallies(tally, [n.score for n in nodes if n.expert == expert])


def assert_brood(brood: Brood, children: Sequence[Node], nodes: Sequence[Node]) -> None:
    """Every child is in one place, and that the right one."""
    parents = {node.parent for node in nodes}
    placed = [*brood.contenders, *brood.grown, *brood.leaves]
    assert sorted(placed) == [child.id for child in children]
    assert parents.issuperset(brood.grown)
    assert parents.isdisjoint(brood.leaves)
    best_first = sorted(children, key=lambda child: (-child.score, child.id))
    assert sorted(brood.contenders) == sorted(child.id for child in best_first[:CONTENDERS])
    assert all(nodes[leaf - 1].score <= brood.best_leaf for leaf in brood.leaves)


def chain(length: int) -> Iterator[Event]:
    """The log of a search in which each answer refined the one before."""
    for number in range(1, length + 1):
        yield Asked(2 * number - 1, Trial(number, number - 1, "m0", number))
        yield Told(2 * number, number, score=1 - 1 / number, cost=0)


@pytest.mark.parametrize("algorithm", [Algorithm.AB_MCTS_A, Algorithm.AB_MCTS_M])
def test_chain_deeper_than_the_stack_is_a_tree_like_any_other(algorithm: Algorithm) -> None:
    """Nothing recurses, neither on telling, nor on replay, nor on the way down of an ask."""
    assert sys.getrecursionlimit() < DEEP
    settings = SearchSettings(
        experts=("m0",),
        seed=1,
        algorithm=algorithm,
        max_nodes=20_000,
        max_depth=20_000,
        prune=False,
    )
    search = replay(settings, chain(DEEP))
    assert search.nodes[-1].depth == DEEP
    assert search.best == DEEP
    assert max(asked(search).depth for _ in range(200)) > 10


@pytest.mark.parametrize("expert_choice", ExpertChoice)
def test_ten_thousand_children_are_chosen_from(expert_choice: ExpertChoice) -> None:
    """The root of a wide tree is still asked about and told of."""
    search = Search(
        SearchSettings(
            experts=EXPERTS,
            seed=1,
            expert_choice=expert_choice,
            max_nodes=20_000,
            target_score=None,
            patience=None,
        )
    )
    rng = Random(0)
    for _ in range(10_000):
        search.adopt(rng.choice(EXPERTS), rng.random(), cost=0)
    parents: set[int] = set()
    for _ in range(20):
        trial = asked(search)
        parents.add(trial.parent)
        search.tell(trial.id, 0.9, cost=0)
    assert len(search.nodes) == 10_020
    assert parents - {ROOT}, "some child was gone into"
