import sys
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.events import Asked, Event, Told
from app.search.posterior import Tally
from app.search.search import Search, replay
from app.search.settings import ExpertChoice, SearchSettings
from app.search.tree import ROOT, Node, Tree
from app.search.trial import Trial
from tests.search.driving import EXPERTS, asked, scores

DEEP = 2_000
"""Nodes in a chain: twice the frames that Python allows, where 10,000 take ten seconds."""

# Where each node hangs (taken modulo the nodes there are), who made it, and its score.
growths = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(EXPERTS), scores), max_size=30)


def hang(tree: Tree, parent: int, expert: str, score: float) -> None:
    """Add the next node."""
    node_id = len(tree.nodes) + 1
    tree.add(Node(node_id, parent, tree.depth(parent) + 1, expert, score, 0, node_id))


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
    assert tally.total == pytest.approx(sum(counted))
    assert tally.squares == pytest.approx(sum(score**2 for score in counted))


@given(growths)
def test_statistics_equal_a_recount(growth: list[tuple[int, str, float]]) -> None:
    """GEN: direct children. CONT: deeper descendants only. Subtree: the node and all below it."""
    tree = Tree()
    for number, (place, expert, score) in enumerate(growth):
        hang(tree, place % (number + 1), expert, score)
    for node_id in range(len(tree.nodes) + 1):
        below = descendants(tree.nodes, node_id)
        assert_tallies(tree.gen[node_id], [n.score for n in below if n.parent == node_id])
        assert_tallies(tree.cont[node_id], [n.score for n in below if n.parent != node_id])
        if node_id != ROOT:
            own = tree.nodes[node_id - 1].score
            assert_tallies(tree.subtree(node_id), [own, *(n.score for n in below)])
    for expert, tally in tree.record.items():
        assert_tallies(tally, [n.score for n in tree.nodes if n.expert == expert])


def chain(length: int) -> Iterator[Event]:
    """The log of a search in which each answer refined the one before."""
    for number in range(1, length + 1):
        yield Asked(2 * number - 1, Trial(number, number - 1, "m0", number))
        yield Told(2 * number, number, score=1 - 1 / number, cost=0)


def test_chain_deeper_than_the_stack_is_a_tree_like_any_other() -> None:
    """Nothing recurses, neither on telling, nor on replay, nor on the way down of an ask."""
    assert sys.getrecursionlimit() < DEEP
    settings = SearchSettings(experts=("m0",), seed=1, max_nodes=20_000, max_depth=20_000)
    search = replay(settings, chain(DEEP))
    assert search.nodes[-1].depth == DEEP
    assert search.best == DEEP
    assert max(asked(search).depth for _ in range(20)) > 10


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
