"""The well-known alternatives, behind the same seam: what a tree search has to beat.

All are deterministic rules: nothing is drawn. Trials in flight count as tries, so that several at
once do not repeat one choice; experts take turns, who was asked least often first.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from math import erfc, exp, log, pi, sqrt

import numpy as np

from app.search.policy import Choice
from app.search.posterior import Gaussian
from app.search.settings import SearchSettings
from app.search.tally import Tally
from app.search.tree import ROOT, Node, Tree
from app.search.trial import Stop, StopReason, Trial, Wait

EXHAUSTED = Stop(StopReason.EXHAUSTED)


class Turns:
    """Knows whose turn it is. The rest of a peer is what it makes of the tree."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def asked(self, trial: Trial) -> None:
        """Its expert has had a turn."""
        self._asked[trial.expert] += 1

    def told(self, node: Node) -> None:
        """Nothing: the tree has it."""

    def abandoned(self, trial: Trial, cost: int) -> None:
        """Nothing: a failed turn is a turn, or an expert that fails would be asked for ever."""

    def choice(self, parent: int, experts: Sequence[str]) -> Choice:
        """This node, with whoever's turn it is; the first of equals."""
        return Choice(parent, min(experts, key=lambda expert: self._asked[expert]), 1.0)


class BestOfN(Turns):
    """Repeated sampling: fresh answers only, until one more is not worth its price.

    That is when the expected improvement on the best score, under a normal model of the scores,
    times `value` is below the mean price of a call: the reservation rule for search with recall.
    Without `value` it goes on; agreement among answers is not visible here.
    Source: Weitzman, Optimal search for the best alternative, Econometrica 1979.
    """

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__()
        self._value = settings.value
        self._scores = Tally()
        self._best = 0.0
        self._paid, self._calls = 0, 0

    def told(self, node: Node) -> None:
        """Count score and price."""
        self._scores.add(node.score)
        self._best = max(self._best, node.score)
        self._pay(node.cost)

    def abandoned(self, trial: Trial, cost: int) -> None:
        """Count the price alone."""
        self._pay(cost)

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice | Stop:
        """A fresh answer, if it is worth it."""
        # Two scores are the least that says anything of their spread.
        if self._value is not None and self._scores.n >= 2:
            price = self._paid / self._calls
            if self._value * expected_improvement(self._scores, self._best) < price:
                return Stop(StopReason.VALUE)
        return self.choice(ROOT, experts)

    def _pay(self, cost: int) -> None:
        self._paid += cost
        self._calls += 1


class Refine(Turns):
    """Sequential refinement: one trial at a time, always of the best answer, the latest of equals.

    Of those that may be refined: at `max_depth` the best of the others is.
    """

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__()
        self._max_depth = settings.max_depth
        self._top, self._top_score = ROOT, -1.0

    def told(self, node: Node) -> None:
        """It may be what to refine next."""
        if node.depth < self._max_depth and node.score >= self._top_score:
            self._top, self._top_score = node.id, node.score

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice | Wait:
        """The next step, once the last one is back."""
        return Wait() if in_flight else self.choice(self._top, experts)


class Mcts(Turns):
    """UCT with a fixed number of children a node, and a softmax over siblings' scores as a prior.

    From the root go into the child of the largest mean + sqrt(2) prior sqrt(ln N / n), until a node
    has room for a child. A trial in flight is a visit that has brought nothing yet. Where children
    are too deep to be expanded, their parent gets more of them.
    """

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__()
        self._width = settings.children_per_node
        self._max_depth = settings.max_depth
        self._parents = [ROOT]
        self._visits = [0]
        self._sums = [0.0]

    def told(self, node: Node) -> None:
        """Back its score up to the root."""
        self._parents.append(node.parent)
        self._visits.append(0)
        self._sums.append(0.0)
        for above in self._way_up(node.id):
            self._visits[above] += 1
            self._sums[above] += node.score

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice:
        """The first node on the way down that has room."""
        tries = Counter(trial.parent for trial in in_flight)
        pending = Counter(above for trial in in_flight for above in self._way_up(trial.parent))
        node = ROOT
        while (
            len(tree.children[node]) + tries[node] >= self._width
            and tree.children[node]
            and tree.depth(node) + 1 < self._max_depth
        ):
            node = self._best_child(tree, node, pending)
        return self.choice(node, experts)

    def _way_up(self, node: int) -> list[int]:
        way = [node]
        while node != ROOT:
            node = self._parents[node]
            way.append(node)
        return way

    def _best_child(self, tree: Tree, node: int, pending: Counter[int]) -> int:
        children = tree.children[node]
        weights = [exp(tree.nodes[child - 1].score) for child in children]
        explored = sqrt(2 * log(self._visits[node] + pending[node])) / sum(weights)

        def bound(place: int) -> float:
            visits = self._visits[children[place]] + pending[children[place]]
            mean = self._sums[children[place]] / visits
            return mean + weights[place] * explored / sqrt(visits)

        return children[max(range(len(children)), key=bound)]


class BestFirst(Turns):
    """The best answer with room for a child is refined, the earliest of equals.

    The root comes before all, until it has its children. With room nowhere the search is at its
    end: it is as wide and as deep as it may be.
    """

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__()
        self._width = settings.children_per_node
        self._max_depth = settings.max_depth
        self._tries: Counter[int] = Counter()
        self._scores = [2.0]  # the root's, above all
        self._open = [(-2.0, ROOT)]

    def asked(self, trial: Trial) -> None:
        """It takes up room."""
        super().asked(trial)
        self._take_room(trial.parent)

    def told(self, node: Node) -> None:
        """It may be refined; adopted, it takes up the room of a fresh answer."""
        self._scores.append(node.score)
        if node.trial_id is None:
            self._take_room(node.parent)
        if node.depth < self._max_depth:
            insort(self._open, self._key(node.id))

    def abandoned(self, trial: Trial, cost: int) -> None:
        """It gives its room back."""
        if self._tries[trial.parent] == self._width:
            insort(self._open, self._key(trial.parent))
        self._tries[trial.parent] -= 1

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice | Stop:
        """The best with room."""
        return self.choice(self._open[0][1], experts) if self._open else EXHAUSTED

    def _key(self, node_id: int) -> tuple[float, int]:
        return -self._scores[node_id], node_id

    def _take_room(self, node_id: int) -> None:
        self._tries[node_id] += 1
        if self._tries[node_id] == self._width:
            del self._open[bisect_left(self._open, self._key(node_id))]


class TreeOfThoughts(Turns):
    """Breadth-first, level by level: the best `beam_width` of each level are refined.

    Each by `children_per_node` trials, the next level once all are back; the first level is of
    `beam_width` fresh answers. It ends with the level at `max_depth`.
    Source: Yao et al., Tree of Thoughts, arXiv 2305.10601, algorithm 1.
    """

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__()
        self._width = settings.children_per_node
        self._beam = settings.beam_width
        self._max_depth = settings.max_depth
        self._level = [ROOT]
        self._depth = 0
        self._made: Counter[int] = Counter()
        self._next: list[tuple[float, int]] = []

    def told(self, node: Node) -> None:
        """Once the level is complete, its best make the next one."""
        self._made[node.parent] += 1
        if node.depth == self._depth + 1:
            self._next.append((-node.score, node.id))
        if all(self._made[parent] >= self._quota(parent) for parent in self._level):
            self._depth += 1
            best = sorted(self._next)[: self._beam]
            self._level = [kept for _, kept in best] if self._depth < self._max_depth else []
            self._next = []

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice | Wait | Stop:
        """The first of the level that lacks a child."""
        tries = Counter(trial.parent for trial in in_flight)
        for node in self._level:
            if self._made[node] + tries[node] < self._quota(node):
                return self.choice(node, experts)
        return Wait() if in_flight else EXHAUSTED

    def _quota(self, node_id: int) -> int:
        return self._beam if node_id == ROOT else self._width


def expected_improvement(scores: Tally, best: float) -> float:
    """By how much one more score is expected to exceed `best`, under a normal predictive."""
    seen = Gaussian(m=0.5).given(scores)
    deviation = sqrt(seen.tau_square * (1 + 1 / seen.kappa))
    z = (seen.m - best) / deviation
    density = exp(-z * z / 2) / sqrt(2 * pi)
    return deviation * (z * erfc(-z / sqrt(2)) / 2 + density)
