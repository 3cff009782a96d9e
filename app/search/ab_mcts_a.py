"""AB-MCTS-A: go wider or deeper at each node, by what either has brought (arXiv 2503.04412).

From the root down, two arms compete at a node by Thompson sampling: GEN, make one more child here;
CONT, go on among the children. The tallies behind them are the tree's. Several experts: algorithm I
chooses the node first and then the expert (`NodeFirst`), algorithm II an expert at each node on
the way (`ExpertFirst`, which the published implementation calls `stack`).

A node at max_depth is never expanded, so it is not entered either. The children of a node all have
one depth: where they may not be entered, the node itself is expanded, without any draw.
"""

from collections.abc import Callable, Sequence
from math import inf, log, sqrt

import numpy as np

from app.search.policy import Choice
from app.search.posterior import Belief, Tally
from app.search.tree import ROOT, Node, Tree
from app.search.trial import Trial

ExpertRule = Callable[[Tree, Sequence[str], np.random.Generator], str]
"""Chooses one of the experts by their record in the whole tree."""


class Memoryless:
    """Keeps nothing of its own: the tallies are the tree's."""

    def asked(self, trial: Trial) -> None:
        """Trials in flight leave no trace."""

    def told(self, node: Node) -> None:
        """The tree has counted it."""

    def abandoned(self, trial: Trial, cost: int) -> None:
        """A failure says nothing about scores."""


class NodeFirst(Memoryless):
    """Algorithm I: the node by GEN against CONT, then the expert by its record in the tree."""

    def __init__(self, prior: Belief, choose_expert: ExpertRule, *, max_depth: int) -> None:
        self._prior = prior
        self._choose_expert = choose_expert
        self._max_depth = max_depth

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice:
        """The node to expand and the expert to expand it with."""
        node = ROOT
        while (
            tree.children[node]
            and tree.depth(node) + 1 < self._max_depth
            and goes_on(self._prior, tree.gen[node], tree.cont[node], rng)
        ):
            node = best_child(self._prior, tree, tree.children[node], rng)
        return Choice(node, self._choose_expert(tree, experts, rng), 1.0)


class ExpertFirst(Memoryless):
    """Algorithm II: at each node an expert, then GEN against CONT among that expert's children.

    An expert no longer in use cannot be asked, but its children here can be gone into. So it
    competes where it has some, and when it wins there is no GEN to go against.
    """

    def __init__(self, prior: Belief, *, max_depth: int) -> None:
        self._prior = prior
        self._max_depth = max_depth

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice:
        """The node to expand and the expert to expand it with."""
        node = ROOT
        while True:
            made = children_by_expert(tree, node)
            may_enter = tree.depth(node) + 1 < self._max_depth
            arms = [*experts, *(e for e in made if e not in experts)] if may_enter else experts
            tallies = {arm: pooled(tree, made.get(arm, ())) for arm in arms}
            expert = max(arms, key=lambda arm: self._draw_whole(*tallies[arm], rng))
            if not may_enter or expert not in made:
                return Choice(node, expert, 1.0)
            if expert in experts and not goes_on(self._prior, *tallies[expert], rng):
                return Choice(node, expert, 1.0)
            node = best_child(self._prior, tree, made[expert], rng)

    def _draw_whole(self, gen: Tally, cont: Tally, rng: np.random.Generator) -> float:
        whole = Tally()
        whole.merge(gen)
        whole.merge(cont)
        return self._prior.given(whole).draw(rng)


def goes_on(prior: Belief, gen: Tally, cont: Tally, rng: np.random.Generator) -> bool:
    """Whether CONT draws strictly more than GEN."""
    wider = prior.given(gen).draw(rng)
    return prior.given(cont).draw(rng) > wider


def best_child(prior: Belief, tree: Tree, children: Sequence[int], rng: np.random.Generator) -> int:
    """The child with the largest draw from its own and its descendants' scores; first of equals."""
    return max(children, key=lambda child: prior.given(tree.subtree(child)).draw(rng))


def children_by_expert(tree: Tree, node: int) -> dict[str, list[int]]:
    """The children of `node` under the expert that made each, all in order of telling."""
    made: dict[str, list[int]] = {}
    for child in tree.children[node]:
        made.setdefault(tree.nodes[child - 1].expert, []).append(child)
    return made


def pooled(tree: Tree, children: Sequence[int]) -> tuple[Tally, Tally]:
    """GEN and CONT of some children of one node: their own scores, their descendants' scores.

    One pass over the children, which drawing for each of them takes anyway.
    """
    gen, cont = Tally(), Tally()
    for child in children:
        gen.add(tree.nodes[child - 1].score)
        cont.merge(tree.gen[child])
        cont.merge(tree.cont[child])
    return gen, cont


def by_thompson(prior: Belief, tree: Tree, experts: Sequence[str], rng: np.random.Generator) -> str:
    """The largest draw, one an expert; in an empty tree all are alike, so the choice is uniform."""
    return max(experts, key=lambda expert: prior.given(record(tree, expert)).draw(rng))


def by_ucb(tree: Tree, experts: Sequence[str], _rng: np.random.Generator) -> str:
    """UCB1: the mean and a bonus for being rarely asked; who was never told of comes first."""

    def bound(expert: str) -> float:
        seen = record(tree, expert)
        return seen.mean + sqrt(2 * log(len(tree.nodes)) / seen.n) if seen.n else inf

    return max(experts, key=bound)


def record(tree: Tree, expert: str) -> Tally:
    """All scores of `expert` in the tree."""
    return tree.record.get(expert, Tally())
