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

from array import array
from collections.abc import Callable, Collection, Sequence
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
GEN = array("i", [ROOT])
"""The arm for a new child: the root is nobody's child, and its row is one without scores."""
FITS_MAX = 4
"""Posteriors kept, of ten kilobytes each: without trials in flight hardly any is used again."""
FITS_MAX_APART = 32
"""Where experts are kept apart, most broods are as they were: of 1,000 nodes of three experts' own
broods, four fits in eleven are of one in the last 32."""
JOINT_VOTES = 2 * VOTES
"""In a joint draw, where the parameters are drawn first, chances are nearer to 0 and 1."""


@dataclass(frozen=True, slots=True)
class Winner:
    """Go into `child`; or expand, by the GEN at this place among the arms, where that is None.

    `chance` is that of this outcome, `widen` that of expanding, by whichever GEN.
    """

    place: int
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
    """How the arms of a node are drawn; see `SearchSettings` for `prune` and `joint`.

    `fits_max` posteriors are kept; how many pay, its policy knows.
    """

    def __init__(self, prior: MixedPrior, *, prune: bool, joint: bool) -> None:
        self._prior = prior
        self._prune = prune
        self._joint = joint
        self._votes = JOINT_VOTES if joint else VOTES
        # Which arm each ballot of GEN and of the contenders is a draw of.
        self._lines = np.arange(CONTENDERS + 1).repeat(self._votes)
        self._fits: dict[Brood, tuple[int, Fit]] = {}
        self.fits_max = FITS_MAX

    def group(self, tally: Census) -> Row:
        """A tally as a row."""
        saturated = (
            self._prune and tally.n >= SATURATED_SIZE and tally.most >= SATURATED_SHARE * tally.n
        )
        return tally.mean, tally.n, tally.deviation, saturated

    def draw(self, broods: Broods[Census], brood: Brood, rng: np.random.Generator) -> Drawn:
        """All arms of `brood`."""
        ids = GEN + brood.contenders + brood.grown + brood.leaves
        arms = broods.rows(ids)
        posterior = self._fit_of(brood, arms[1:], rng)
        few = len(brood.contenders) + 1
        many = few * self._votes
        lines = self._lines[:many]
        if few < len(ids):
            lines = np.concatenate([lines, np.arange(few, len(ids))])
        drawn = posterior.draws(arms[:, MEAN].take(lines), arms[:, COUNT].take(lines), rng)
        ballots = drawn[:many].reshape(few, -1)
        children = ids.tolist()
        saturated: list[bool] = (arms[:, SATURATED] > 0).tolist()
        if few == len(ids):
            return Drawn(ballots, children, saturated)
        singles = drawn[many:]
        best = best_of_each_kind(singles, saturated[few:])
        ballots = np.concatenate([ballots, singles[best, None].repeat(self._votes, axis=1)])
        kept = [*range(few), *(few + place for place in best)]
        return Drawn(ballots, [children[at] for at in kept], [saturated[at] for at in kept])

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
        posterior = self._fit(rows)
        if self._joint:
            posterior = posterior.settled(rng)
        ballots = posterior.draws(means, counts, rng)
        place, chance = followed(ballots.argmax(axis=0))
        return experts[place], chance

    def _fit_of(self, brood: Brood, rows: Rows, rng: np.random.Generator) -> Fit:
        """What the groups of `brood` tell, unless that is still known from the last time."""
        told = brood.below.n
        known_at, posterior = self._fits.pop(brood, (0, None))
        if posterior is None or known_at != told:
            posterior = self._fit(rows)
        self._fits[brood] = (told, posterior)
        if len(self._fits) > self.fits_max:
            del self._fits[next(iter(self._fits))]
        return posterior.settled(rng) if self._joint else posterior

    def _fit(self, rows: Rows) -> Fit:
        return fit(Groups(rows[:, MEAN], rows[:, COUNT], rows[:, DEVIATION]), self._prior)


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
            winner = race(self._model.draw(self.broods, brood, rng))
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
        model.fits_max = FITS_MAX_APART
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
            winner = race(pooled(drawn.values()))
            chance *= winner.chance
            if winner.child is None:
                pools = [pool for pool, arms in drawn.items() for _ in arms.children]
                widen = winner.widen if may_enter else None
                return chosen(node, pools[winner.place], chance, widen)
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


def pooled(drawn: Collection[Drawn]) -> Drawn:
    """All arms of several broods."""
    return Drawn(
        np.concatenate([arms.ballots for arms in drawn]),
        [child for arms in drawn for child in arms.children],
        [closed for arms in drawn for closed in arms.saturated],
    )


def race(arms: Drawn) -> Winner:
    """What the largest draw says.

    A saturated child that wins gives way to the next best child, not to GEN.
    """
    votes: list[int] = arms.ballots.argmax(axis=0).tolist()
    if any(arms.saturated[vote] for vote in votes):
        votes = without_saturated(arms, votes)
    place = votes[0]
    chance = votes.count(place) / len(votes)
    widen = [arms.children[vote] for vote in votes].count(ROOT) / len(votes)
    return Winner(place, arms.children[place] or None, chance, widen)


def without_saturated(arms: Drawn, votes: Sequence[int]) -> list[int]:
    """`votes`, but each for a saturated child is for the best other child; or, without, for GEN."""
    may_enter = [place for place, closed in enumerate(arms.saturated) if not closed]
    heirs = [place for place in may_enter if arms.children[place] != ROOT] or may_enter
    best: list[int] = arms.ballots.take(heirs, axis=0).argmax(axis=0).tolist()
    return [
        heirs[heir] if arms.saturated[vote] else vote
        for vote, heir in zip(votes, best, strict=True)
    ]
