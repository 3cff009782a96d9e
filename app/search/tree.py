"""The answered nodes of a search.

Flat lists, indexed by node id, with parent ids in between: no node holds another, nothing here
recurses, and a chain of 10,000 nodes is as good as any tree. Trials in flight are not here. What is
believed about scores is the policy's own business.
"""

from dataclasses import dataclass

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
    """Nodes 1..n in order of telling, and the children of each and of the root."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.children: list[list[int]] = [[]]

    def add(self, node: Node) -> None:
        """Hang up the next node."""
        assert node.id == len(self.nodes) + 1, "nodes are numbered in order of telling"
        self.nodes.append(node)
        self.children.append([])
        self.children[node.parent].append(node.id)

    def depth(self, node_id: int) -> int:
        """Steps from the root, which has depth 0."""
        return 0 if node_id == ROOT else self.nodes[node_id - 1].depth
