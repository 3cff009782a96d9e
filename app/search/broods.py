"""Who competes at each node of the tree, and the scores behind every arm.

A brood is the children of one node that compete with one another: all of them, or, where experts
are kept apart, those that one expert made. A told node costs O(1) here; the scores then rise to
all its ancestors when somebody next wants to know, all that are waiting in one pass from the
deepest up. Sums are exact, so it makes no difference when that is.
"""

from array import array
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from app.search.tally import Tally
from app.search.tree import ROOT, Node

Row = tuple[float, ...]
"""What a belief makes of a tally: the parameters of one arm, always as many."""
Rows = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]

T = TypeVar("T", bound=Tally)

SHARED = ""
"""The pool of all children where experts are not kept apart."""


CONTENDERS = 8
"""Of so many children at most a choice among them weighs the chances one by one."""


class Brood:
    """Some children of one node.

    `contenders` are those of the best own scores, the earliest of equals. Of the others, `grown`
    have children of their own and `leaves` have none. `own` is the children's own scores (the GEN
    arm), `below` those of their descendants as well.
    """

    __slots__ = ("below", "best_leaf", "contenders", "grown", "leaves", "own")

    def __init__(self) -> None:
        self.contenders = array("i")
        self.leaves = array("i")
        self.grown = array("i")
        self.own = Tally()
        self.below = Tally()
        self.best_leaf = 0.0
        """No leaf's score is above this."""

    def ids(self) -> Ids:
        """All children: the contenders first."""
        first: Ids = np.asarray(self.contenders)
        if not self.grown and not self.leaves:
            return first
        return np.concatenate([first, np.asarray(self.grown), np.asarray(self.leaves)])

    @property
    def deeper(self) -> Tally:
        """The CONT arm: scores of deeper descendants only."""
        return self.below.without(self.own)


class Broods(Generic[T]):
    """All broods of a growing tree, the arm of every node among its siblings, experts' records."""

    def __init__(
        self, row: Callable[[T], Row], new_tally: Callable[[], T], *, by_expert: bool
    ) -> None:
        self._row = row
        self._new_tally = new_tally
        self._by_expert = by_expert
        self._nodes: list[Node] = []
        self._place = array("i")  # among its brood's leaves, for a node that is one; else -1
        self._is_parent = bytearray(1)
        self._width = len(row(new_tally()))
        self._rows: Rows = np.empty((16, self._width))
        self._rows[ROOT] = row(new_tally())
        self._cells = _cells(self._rows)
        self._subtrees: dict[int, T] = {}
        self._rising: list[Node] = []
        self._broods: dict[tuple[int, str], Brood] = {}
        self._pools: dict[str, None] = {}
        self.record: dict[str, T] = {}
        """All scores that each expert ever had, wherever in the tree."""

    def add(self, node: Node) -> None:
        """Take in the next node; in O(1), what it means for its ancestors is left for later."""
        self._nodes.append(node)
        self.record.setdefault(node.expert, self._new_tally()).add(node.score)
        self._pools.setdefault(self._pool(node))
        self._place.append(-1)
        self._is_parent.append(False)
        self._grow_up(node.parent)
        self._join(self._brood_of(node), node)
        self._rising.append(node)

    def brood(self, node_id: int, pool: str = SHARED) -> Brood | None:
        """The children of a node (in `pool`) with all scores so far; None where there are none."""
        if self._rising:
            self._settle()
        return self._broods.get((node_id, pool))

    def pools(self, node_id: int) -> dict[str, Brood]:
        """The broods of a node under the names of their pools, in order of first use anywhere."""
        broods = ((pool, self.brood(node_id, pool)) for pool in self._pools)
        return {pool: brood for pool, brood in broods if brood is not None}

    @property
    def all_rows(self) -> Rows:
        """The arm of every node, by its id; row 0 is one without scores."""
        return self._rows

    def rows(self, ids: Sequence[int] | Ids) -> Rows:
        """The arms of these nodes."""
        return self._rows.take(ids, axis=0)

    def subtree(self, node_id: int) -> T:
        """Scores of a node (not the root) and of all its descendants."""
        if self._rising:
            self._settle()
        kept = self._subtrees.get(node_id)
        return self._tally_of(self._nodes[node_id - 1]) if kept is None else kept

    def _pool(self, node: Node) -> str:
        return node.expert if self._by_expert else SHARED

    def _brood_of(self, node: Node) -> Brood:
        key = (node.parent, self._pool(node))
        brood = self._broods.get(key)
        if brood is None:
            brood = self._broods[key] = Brood()
        return brood

    def _join(self, brood: Brood, node: Node) -> None:
        contenders = brood.contenders
        if len(contenders) < CONTENDERS:
            contenders.append(node.id)
            return
        # The latest of equals is the first to give way.
        weakest = min(reversed(range(CONTENDERS)), key=lambda place: self._score(contenders[place]))
        gives_way = node
        if node.score > self._score(contenders[weakest]):
            gives_way = self._nodes[contenders.pop(weakest) - 1]
            contenders.append(node.id)
        if self._is_parent[gives_way.id]:
            brood.grown.append(gives_way.id)
        else:
            self._place[gives_way.id - 1] = len(brood.leaves)
            brood.leaves.append(gives_way.id)
            brood.best_leaf = max(brood.best_leaf, gives_way.score)

    def _grow_up(self, node_id: int) -> None:
        if self._is_parent[node_id]:
            return
        self._is_parent[node_id] = True
        place = -1 if node_id == ROOT else self._place[node_id - 1]
        if place < 0:
            return
        brood = self._brood_of(self._nodes[node_id - 1])
        last = brood.leaves.pop()
        if last != node_id:  # which leaves a gap, and the last fills it
            brood.leaves[place] = last
            self._place[last - 1] = place
        self._place[node_id - 1] = -1
        brood.grown.append(node_id)

    def _score(self, node_id: int) -> float:
        return self._nodes[node_id - 1].score

    def _settle(self) -> None:
        arrived, self._rising = self._rising, []
        first = arrived[0].id
        # Per node, the scores that are new in its subtree.
        gains: dict[int, T] = {}
        for node in arrived:
            self._brood_of(node).own.add(node.score)
            gains[node.id] = self._tally_of(node)
        latest_first = [-node_id for node_id in reversed(gains)]  # in order, so already a heap
        while latest_first:
            node = self._nodes[-heappop(latest_first) - 1]
            gained = gains.pop(node.id)
            self._set_row(node.id, self._grown(node, gained, is_new=node.id >= first))
            self._brood_of(node).below.merge(gained)
            if node.parent == ROOT:
                continue
            if node.parent in gains:
                gains[node.parent].merge(gained)
            else:
                gains[node.parent] = gained
                heappush(latest_first, -node.parent)

    def _grown(self, node: Node, gained: T, *, is_new: bool) -> T:
        """Scores of the node's subtree, with what it has gained; kept for a parent."""
        if not self._is_parent[node.id]:
            return gained  # its own score
        subtree = self._subtrees.get(node.id)
        if subtree is None:
            subtree = self._new_tally() if is_new else self._tally_of(node)
            self._subtrees[node.id] = subtree
        subtree.merge(gained)
        return subtree

    def _set_row(self, node_id: int, tally: T) -> None:
        while node_id >= len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._cells = _cells(self._rows)
        place = node_id * self._width
        # One by one: for so few, faster than a row of numpy's.
        for value in self._row(tally):
            self._cells[place] = value
            place += 1

    def _tally_of(self, node: Node) -> T:
        tally = self._new_tally()
        tally.add(node.score)
        return tally


def _cells(rows: Rows) -> "memoryview[float]":
    """The numbers in `rows`, one after the other, and in the same memory."""
    return rows.data.cast("B").cast("d")
