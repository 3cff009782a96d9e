"""AB-MCTS-A: go wider or deeper at each node, by what either has brought (arXiv 2503.04412).

From the root down, two arms compete at a node by Thompson sampling: GEN, make one more child here;
CONT, go on among the children. Several experts: algorithm I chooses the node first and then the
expert (`NodeFirst`), algorithm II an expert at each node on the way (`ExpertFirst`, which the
published implementation calls `stack`).

A node at max_depth is never expanded, so it is not entered either. The children of a node all have
one depth: where they may not be entered, the node itself is expanded, without any draw.

Trials in flight leave no trace in the statistics, as in the published implementation.
"""

from collections.abc import Callable, Sequence
from math import inf, log, sqrt
from sys import float_info
from typing import Generic

import numpy as np
import numpy.typing as npt

from app.search.broods import SHARED, Brood, Broods, T
from app.search.policy import Choice
from app.search.posterior import Belief
from app.search.tally import Tally
from app.search.tree import ROOT, Node, Tree
from app.search.trial import Trial

ExpertRule = Callable[[Broods[Tally], Sequence[str], np.random.Generator], tuple[str, float]]
"""Chooses one of the experts by their record in the whole tree; and the chance that it had."""


class Listener(Generic[T]):
    """Hears of events, and keeps the scores of what was told."""

    def __init__(self, broods: Broods[T]) -> None:
        self.broods = broods

    def asked(self, trial: Trial) -> None:
        """Nothing: a trial counts once it is told."""

    def told(self, node: Node) -> None:
        """Count its score."""
        self.broods.add(node)

    def abandoned(self, trial: Trial, cost: int) -> None:
        """Nothing: a failure is not a score."""


class NodeFirst(Listener[Tally]):
    """Algorithm I: the node by GEN against CONT, then the expert by its record in the tree."""

    def __init__(self, prior: Belief, choose_expert: ExpertRule, *, max_depth: int) -> None:
        super().__init__(Broods(prior.arm, Tally, by_expert=False))
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
        node, chance, widen = ROOT, 1.0, None
        while brood := entered(self.broods, tree, node, SHARED, max_depth=self._max_depth):
            deeper, go_on = goes_on(self._prior, brood, rng)
            if not deeper:
                widen = 1 - go_on
                chance *= widen
                break
            node, favour = best_child(self._prior, self.broods, brood, rng)
            chance *= go_on * favour
        expert, favour = self._choose_expert(self.broods, experts, rng)
        return chosen(node, expert, chance * favour, widen)


class ExpertFirst(Listener[Tally]):
    """Algorithm II: at each node an expert, then GEN against CONT among that expert's children.

    An expert no longer in use cannot be asked, but its children here can be gone into. So it
    competes where it has some, and when it wins there is no GEN to go against.
    """

    def __init__(self, prior: Belief, *, max_depth: int) -> None:
        super().__init__(Broods(prior.arm, Tally, by_expert=True))
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
        node, chance = ROOT, 1.0
        while True:
            may_enter = tree.depth(node) + 1 < self._max_depth
            made = self.broods.pools(node)
            arms = [*experts, *(e for e in made if e not in experts)] if may_enter else experts
            wholes = [made[arm].below if arm in made else Tally() for arm in arms]
            place, favour = elected(self._prior, wholes, rng)
            expert = arms[place]
            chance *= favour
            if not may_enter or expert not in made:
                return chosen(node, expert, chance, None)
            if expert in experts:
                deeper, go_on = goes_on(self._prior, made[expert], rng)
                if not deeper:
                    return chosen(node, expert, chance * (1 - go_on), 1 - go_on)
                chance *= go_on
            node, favour = best_child(self._prior, self.broods, made[expert], rng)
            chance *= favour


def entered(broods: Broods[T], tree: Tree, node: int, pool: str, *, max_depth: int) -> Brood | None:
    """The children of `node` if there are any and they may be expanded."""
    return broods.brood(node, pool) if tree.depth(node) + 1 < max_depth else None


def goes_on(prior: Belief, brood: Brood, rng: np.random.Generator) -> tuple[bool, float]:
    """Whether CONT draws more than GEN, and the chance of that."""
    chance = prior.chance_above(prior.arm(brood.own), prior.arm(brood.deeper), rng)
    return rng.random() < chance, chance


def best_child(
    prior: Belief, broods: Broods[Tally], brood: Brood, rng: np.random.Generator
) -> tuple[int, float]:
    """The child with the largest draw from its own and its descendants' scores; and its chance.

    The children that do not contend draw first: the chance is the one given these draws.
    """
    contenders, grown = brood.contenders, brood.grown
    if len(contenders) == 1:
        return contenders[0], 1.0
    rival, value = best_leaf(prior, broods, brood, rng)
    ballots, others = prior.ballots(broods.rows(contenders + grown), len(contenders), rng)
    if grown:
        place = int(others.argmax())
        if others[place] > value:
            rival, value = grown[place], others[place]
    ballots[-1] = value
    place, chance = followed(ballots.argmax(axis=0))
    return contenders[place] if place < len(contenders) else rival, chance


def best_leaf(
    prior: Belief, broods: Broods[Tally], brood: Brood, rng: np.random.Generator
) -> tuple[int, float]:
    """Of the leaves that do not contend, the one that draws most, and what it draws."""
    if not brood.leaves:
        return -1, -inf
    return prior.best_single(broods.all_rows, np.asarray(brood.leaves), brood.best_leaf, rng)


def elected(prior: Belief, tallies: Sequence[Tally], rng: np.random.Generator) -> tuple[int, float]:
    """The arm with the largest draw, and its chance. Without scores all are alike."""
    if len(tallies) == 1:
        return 0, 1.0
    arms = np.array([prior.arm(tally) for tally in tallies])
    ballots, _ = prior.ballots(arms, len(arms), rng)
    return followed(ballots.argmax(axis=0))


def followed(votes: npt.NDArray[np.intp]) -> tuple[int, float]:
    """The first vote, and the share of all that agree with it.

    The ballots are exchangeable, so following the first is as good as following any.
    """
    listed: list[int] = votes.tolist()
    return listed[0], listed.count(listed[0]) / len(listed)


def by_thompson(
    prior: Belief, broods: Broods[Tally], experts: Sequence[str], rng: np.random.Generator
) -> tuple[str, float]:
    """The largest draw, one an expert; in an empty tree all are alike, so the choice is uniform."""
    place, chance = elected(prior, [record(broods, expert) for expert in experts], rng)
    return experts[place], chance


def by_ucb(
    broods: Broods[T], experts: Sequence[str], _rng: np.random.Generator
) -> tuple[str, float]:
    """UCB1: the mean and a bonus for being rarely asked; who was never told of comes first."""
    told = sum(tally.n for tally in broods.record.values())

    def bound(expert: str) -> float:
        seen = broods.record.get(expert)
        return inf if seen is None else seen.mean + sqrt(2 * log(told) / seen.n)

    return max(experts, key=bound), 1.0


def record(broods: Broods[Tally], expert: str) -> Tally:
    """All scores of `expert` in the tree."""
    return broods.record.get(expert, Tally())


def chosen(node: int, expert: str, chance: float, widen: float | None) -> Choice:
    """The choice, with a chance that a long way down has not rounded to 0."""
    return Choice(node, expert, max(chance, float_info.min), widen)
