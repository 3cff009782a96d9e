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
from math import inf

import numpy as np
import numpy.typing as npt

from app.search.ab_mcts_a import Listener, chosen, entered, followed
from app.search.broods import SHARED, Brood, Broods, Ids, Row, Rows
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

Flags = npt.NDArray[np.bool_]
Votes = npt.NDArray[np.intp]
ExpertRule = Callable[[Broods[Census], Sequence[str], np.random.Generator], tuple[str, float]]


NEW: Row = (0.0, 0, 0.0, False)
"""A group without scores."""
NEW_ROW: Rows = np.array([NEW], dtype=np.float64)
NONE: Array = np.zeros(0)


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
    """The arms of one brood. GEN and contenders: `VOTES` ballots each. Others: one draw each."""

    gen: Array
    ids: Ids
    ballots: Array
    others: Array
    saturated: Flags

    @property
    def best_other(self) -> float:
        """Value of the best of the others; -inf for none."""
        return float(self.others.max()) if len(self.others) else -inf

    @property
    def best_open(self) -> tuple[float, int]:
        """Value and id of the best of the others that is not saturated; (-inf, 0) for none."""
        closed = self.saturated[len(self.ballots) :]
        if closed.all():
            return -inf, 0
        drawn = np.where(closed, -inf, self.others)
        place = int(drawn.argmax())
        return float(drawn[place]), int(self.ids[len(self.ballots) + place])


class Model:
    """How the arms of a node are drawn; see `SearchSettings` for `prune` and `joint`."""

    def __init__(self, prior: MixedPrior, *, prune: bool, joint: bool) -> None:
        self._prior = prior
        self._prune = prune
        self._joint = joint

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
        ids = brood.ids()
        rows = broods.rows(ids)
        posterior = self.fit(rows, rng)
        count = len(brood.contenders)
        weighed = np.concatenate([NEW_ROW, rows[:count]])
        ballots = posterior.draws(weighed[:, MEAN], weighed[:, COUNT], VOTES, rng)
        others = NONE
        if len(ids) > count:
            others = posterior.draws(rows[count:, MEAN], rows[count:, COUNT], 1, rng)[:, 0]
        return Drawn(ballots[0], ids, ballots[1:], others, rows[:, SATURATED] > 0)

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
        ballots = self.fit(rows, rng).draws(wanted[:, MEAN], wanted[:, COUNT], VOTES, rng)
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
            winner = race({SHARED: self._model.draw(self.broods, brood, rng)}, [SHARED])
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
            drawn = {
                expert: self._model.draw(self.broods, made.get(expert, NOBODY), rng)
                for expert in dict.fromkeys([*experts, *(made if may_enter else ())])
            }
            winner = race(drawn, experts, may_enter=may_enter)
            chance *= winner.chance
            if winner.child is None:
                return chosen(node, winner.pool, chance, winner.widen if may_enter else None)
            node = winner.child


NOBODY: Brood = Brood()
"""No children."""


def race(drawn: Mapping[str, Drawn], pools: Sequence[str], *, may_enter: bool = True) -> Winner:
    """What the largest draw says, over all broods; each of `pools` has a GEN.

    A saturated child that wins gives way to the next best child, not to GEN.
    """
    gens = np.array([drawn[pool].gen for pool in pools])
    gen: Votes = gens.argmax(axis=0)
    if not may_enter:
        place, chance = followed(gen)
        return Winner(pools[place], None, chance, 1.0)
    arms = drawn.values()
    ballots = np.concatenate([arm.ballots for arm in arms])
    ids = [child for arm in arms for child in arm.ids[: len(arm.ballots)].tolist()]
    rival_value, rival = max(arm.best_open for arm in arms)
    closed = np.concatenate([arm.saturated[: len(arm.ballots)] for arm in arms])
    if rival == 0 and closed.all():
        place, chance = followed(gen)
        return Winner(pools[place], None, chance, 1.0)
    top = np.maximum(ballots.max(axis=0), max(arm.best_other for arm in arms))
    ballots[closed] = -inf
    child: Votes = ballots.argmax(axis=0)
    child[ballots.max(axis=0) < rival_value] = len(ids)
    widens = gens.max(axis=0) >= top
    # First the GENs are numbered, then the contenders, then the best of the other children.
    votes: Votes = np.where(widens, gen, child + len(pools))
    place, chance = followed(votes)
    widen = np.count_nonzero(widens) / VOTES
    if place < len(pools):
        return Winner(pools[place], None, chance, widen)
    return Winner("", [*ids, rival][place - len(pools)], chance, widen)
