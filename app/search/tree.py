"""The answered nodes, and the scores that the search adds up over them.

Flat lists, indexed by node id, with parent ids in between: no node holds another, nothing here
recurses, and a chain of 10,000 nodes is as good as any tree. Trials in flight are not here, so no
statistic sees them (as in the published implementation).
"""

from dataclasses import dataclass

from app.search.posterior import Tally

ROOT = 0
"""The id of the root: the problem itself, which has neither expert nor score."""


@dataclass(frozen=True, slots=True)
class Node:
    """An answer with its score. `trial_id` is None if it was adopted and not asked for."""

    id: int
    parent: int
    depth: int
    expert: str
    score: float
    cost: int
    trial_id: int | None


class Tree:
    """Nodes 1..n in order of telling, and for each node N (and the root) two tallies.

    gen[N]: scores of N's direct children. What happened when N was expanded.
    cont[N]: scores of N's deeper descendants only. What happened when N's children were gone into.

    These two and N's own score are the distribution that N's parent keeps for N (`subtree`), so
    there is no third one to maintain.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.children: list[list[int]] = [[]]
        self.gen = [Tally()]
        self.cont = [Tally()]
        self.record: dict[str, Tally] = {}
        """All scores that each expert ever had, wherever in the tree."""

    def add(self, node: Node) -> None:
        """Hang up the next node and back up its score, in O(depth)."""
        assert node.id == len(self.nodes) + 1, "nodes are numbered in order of telling"
        self.nodes.append(node)
        self.children.append([])
        self.gen.append(Tally())
        self.cont.append(Tally())
        self.children[node.parent].append(node.id)
        self.record.setdefault(node.expert, Tally()).add(node.score)
        self._back_up(node)

    def _back_up(self, node: Node) -> None:
        self.gen[node.parent].add(node.score)
        ancestor = node.parent
        while ancestor != ROOT:
            ancestor = self.nodes[ancestor - 1].parent
            self.cont[ancestor].add(node.score)

    def depth(self, node_id: int) -> int:
        """Steps from the root, which has depth 0."""
        return 0 if node_id == ROOT else self.nodes[node_id - 1].depth

    def subtree(self, node_id: int) -> Tally:
        """Scores of a node (not the root) and of all its descendants."""
        score, gen, cont = self.nodes[node_id - 1].score, self.gen[node_id], self.cont[node_id]
        return Tally(
            n=1 + gen.n + cont.n,
            total=score + gen.total + cont.total,
            squares=score * score + gen.squares + cont.squares,
        )
