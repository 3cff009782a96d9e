"""AB-MCTS-M: go wider or deeper by a mixed model of each node's children (arXiv 2503.04412).

A child and all its descendants are one group of scores. The arms at a node are its children, each
by a draw of a next score in its group, and GEN, by a draw of a score in a new group. The largest
wins: a child is gone into, GEN expands the node. The model is integrated exactly (`mixed_model`).

Several experts: algorithm I chooses the node first and then the expert, by UCB or by the same model
with experts for groups (`MixedNodeFirst`). Algorithm II fits a model an expert on the children that
it made, and pools all arms, one GEN an expert (`MixedExpertFirst`).

Depth is bounded as in AB-MCTS-A. A saturated subtree, many nodes and nearly all of one score, is
not entered either: if it wins, the next best child is, and with none left the node is expanded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.search.ab_mcts_a import Listener, chosen, entered, followed
from app.search.broods import CONTENDERS, SHARED, Brood, Broods, Row, Rows
from app.search.mixed_model import Array, Fit, Groups, MixedPrior, fit
from app.search.policy import Choice
from app.search.posterior import VOTES
from app.search.tally import Census
from app.search.tree import ROOT, Tree
from app.search.trial import Trial

SATURATED_SIZE = 4
SATURATED_SHARE = 0.75
"""So many nodes make a subtree saturated if so many of their scores are the same in percent."""

MEAN, COUNT, DEVIATION, SATURATED = range(4)
"""The columns of a row."""
KINDS = (False, True)
"""Not saturated, saturated."""

ExpertRule = Callable[[Broods[Census], Sequence[str], np.random.Generator], tuple[str, float]]


NEW: Row = (0.0, 0, 0.0, False)
"""A group without scores."""
NEW_ROW: Rows = np.array([NEW], dtype=np.float64)
JOINT_VOTES = 2 * VOTES
"""In a joint draw, where the parameters are drawn first, chances are nearer to 0 and 1."""


@dataclass(frozen=True, slots=True)
class Winner:
    """Go into `child`; or expand, by the GEN of `pool`, where that is None.

    `chance` is that of this outcome, `widen` that of expanding, by whichever GEN.
    """

    pool: str
    child: int | None
    chance: float
    widen: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """The arms of one brood: a row of ballots each, as many as there are votes.

    First GEN, then the contenders, then of the others, which draw once, the best that may be
    entered and the best that may not, where there are such. `children` are the ids, 0 for GEN.
    """

    ballots: Array
    children: list[int]
    saturated: list[bool]

    def without_children(self) -> "Drawn":
        """GEN alone."""
        return Drawn(self.ballots[:1], self.children[:1], self.saturated[:1])

    def without_gen(self) -> "Drawn":
        """The children alone."""
        return Drawn(self.ballots[1:], self.children[1:], self.saturated[1:])


class Model:
    """How the arms of a node are drawn; see `SearchSettings` for `prune` and `joint`."""

    def __init__(self, prior: MixedPrior, *, prune: bool, joint: bool) -> None:
        self._prior = prior
        self._prune = prune
        self._joint = joint
        self._votes = JOINT_VOTES if joint else VOTES
        # Which arm each ballot of GEN and of the contenders is a draw of.
        self._lines = np.arange(CONTENDERS + 1).repeat(self._votes)

    def group(self, tally: Census) -> Row:
        """A tally as a row."""
        saturated = (
            self._prune and tally.n >= SATURATED_SIZE and tally.most >= SATURATED_SHARE * tally.n
        )
        return tally.mean, tally.n, tally.deviation, saturated

    def fit(self, rows: Rows, rng: np.random.Generator) -> Fit:
        """What these groups tell; in a joint draw, one set of parameters for all arms."""
        groups = Groups(rows[:, MEAN], rows[:, COUNT], rows[:, DEVIATION])
        posterior = fit(groups, self._prior)
        return posterior.settled(rng) if self._joint else posterior

    def draw(self, broods: Broods[Census], brood: Brood, rng: np.random.Generator) -> Drawn:
        """All arms of `brood`."""
        ids = brood.contenders + brood.grown + brood.leaves
        rows = broods.rows(ids)
        posterior = self.fit(rows, rng)
        arms = np.concatenate([NEW_ROW, rows])
        few = len(brood.contenders) + 1
        many = few * self._votes
        lines = np.concatenate([self._lines[:many], np.arange(few, len(arms))])
        drawn = posterior.draws(arms[:, MEAN].take(lines), arms[:, COUNT].take(lines), rng)
        saturated: list[bool] = (arms[:, SATURATED] > 0).tolist()
        singles = drawn[many:]
        best = best_of_each_kind(singles, saturated[few:])
        ballots = np.empty((few + len(best), self._votes))
        ballots[:few] = drawn[:many].reshape(few, -1)
        ballots[few:] = singles[best, None]
        kept = [*range(few), *(few + place for place in best)]
        children = [ROOT, *(ids[place - 1] for place in kept[1:])]
        return Drawn(ballots, children, [saturated[place] for place in kept])

    def expert(
        self, broods: Broods[Census], experts: Sequence[str], rng: np.random.Generator
    ) -> tuple[str, float]:
        """The expert with the largest draw of a next score, from its scores in the whole tree.

        Who was never told of draws as a new group does.
        """
        if len(experts) == 1:
            return experts[0], 1.0
        groups = {expert: self.group(tally) for expert, tally in broods.record.items()}
        rows = np.array(list(groups.values()), dtype=np.float64).reshape(-1, 4)
        wanted = np.array([groups.get(expert, NEW) for expert in experts], dtype=np.float64)
        means, counts = wanted[:, :DEVIATION].T[:, :, None].repeat(self._votes, axis=2)
        ballots = self.fit(rows, rng).draws(means, counts, rng)
        place, chance = followed(ballots.argmax(axis=0))
        return experts[place], chance


class MixedNodeFirst(Listener[Census]):
    """Algorithm I: the node first, then the expert by its record in the tree."""

    def __init__(self, model: Model, choose_expert: ExpertRule, *, max_depth: int) -> None:
        super().__init__(Broods(model.group, Census, by_expert=False))
        self._model = model
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
            winner = race({SHARED: self._model.draw(self.broods, brood, rng)})
            chance *= winner.chance
            if winner.child is None:
                widen = winner.widen
                break
            node = winner.child
        expert, favour = self._choose_expert(self.broods, experts, rng)
        return chosen(node, expert, chance * favour, widen)


class MixedExpertFirst(Listener[Census]):
    """Algorithm II: one model an expert at each node, all their arms against each other.

    An expert no longer in use has no GEN, but its children here can be gone into.
    """

    def __init__(self, model: Model, *, max_depth: int) -> None:
        super().__init__(Broods(model.group, Census, by_expert=True))
        self._model = model
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
            drawn: dict[str, Drawn] = {}
            for expert in dict.fromkeys([*experts, *(made if may_enter else ())]):
                arms = self._model.draw(self.broods, made.get(expert, NOBODY), rng)
                if not may_enter:
                    arms = arms.without_children()
                drawn[expert] = arms if expert in experts else arms.without_gen()
            winner = race(drawn)
            chance *= winner.chance
            if winner.child is None:
                return chosen(node, winner.pool, chance, winner.widen if may_enter else None)
            node = winner.child


NOBODY: Brood = Brood()
"""No children."""


def best_of_each_kind(values: Array, saturated: Sequence[bool]) -> list[int]:
    """Where the largest value is of an arm that is not saturated, and of one that is."""
    if not any(saturated):
        return [int(values.argmax())] if saturated else []
    ranked: list[int] = values.argsort()[::-1].tolist()
    best = [next((place for place in ranked if saturated[place] == kind), None) for kind in KINDS]
    return [place for place in best if place is not None]


def race(drawn: Mapping[str, Drawn]) -> Winner:
    """What the largest draw says, over all broods.

    A saturated child that wins gives way to the next best child, not to GEN.
    """
    pools = [pool for pool, arms in drawn.items() for _ in arms.children]
    children = [child for arms in drawn.values() for child in arms.children]
    saturated = [closed for arms in drawn.values() for closed in arms.saturated]
    ballots = np.concatenate([arms.ballots for arms in drawn.values()])
    votes: list[int] = ballots.argmax(axis=0).tolist()
    if any(saturated[vote] for vote in votes):
        votes = without_saturated(ballots, votes, children, saturated)
    place = votes[0]
    chance = votes.count(place) / len(votes)
    widen = sum(children[vote] == ROOT for vote in votes) / len(votes)
    return Winner(pools[place], children[place] or None, chance, widen)


def without_saturated(
    ballots: Array, votes: Sequence[int], children: Sequence[int], saturated: Sequence[bool]
) -> list[int]:
    """`votes`, but each for a saturated child is for the best other child; or, without, for GEN."""
    arms = list(zip(children, saturated, strict=True))
    enterable = [child != ROOT and not closed for child, closed in arms]
    heirs = enterable if any(enterable) else [not closed for closed in saturated]
    (places,) = np.array(heirs).nonzero()
    instead: list[int] = places[ballots[places].argmax(axis=0)].tolist()
    return [heir if saturated[vote] else vote for vote, heir in zip(votes, instead, strict=True)]
