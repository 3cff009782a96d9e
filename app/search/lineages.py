"""What a search has seen, lineage by lineage: the counts that `fathom` decides by.

A lineage is a fresh answer with all that was refined out of it. It has one live end, its top, where
its next refinement starts: the latest node to reach its best score. A refinement of an older node
that gains without reaching the lineage's best starts a branch, which counts as a lineage of its
own. Only counts are kept here, in O(experts) a tell; what they mean, `beliefs` says.
"""

from app.search.experience import Experience
from app.search.growing import Growing
from app.search.skills import Skills
from app.search.tree import ROOT, Node
from app.search.trial import Trial

NO_ORIGIN = -1


class Lineages:
    """In order of their first nodes."""

    def __init__(self, experience: Experience | None = None) -> None:
        self.skills = Skills()
        self.experience = experience or Experience(())
        self.tops: list[int] = []
        """The nodes that are their live ends."""
        self.backs: list[int] = []
        """The nodes that the best scores were reached from; the root where that was at once."""
        self.best = Growing()
        """The best score."""
        self.first = Growing()
        """The score that it started with."""
        self.fails = Growing(1)
        """By expert: refinements of the top since the lineage last gained. None gained."""
        self.ties = Growing()
        """Those of them that scored exactly as the top."""
        self.origin = Growing()
        """The lineage that this is a branch of, or NO_ORIGIN."""
        self.saturated = Growing()
        """P(no refinement of the top can gain), as last believed."""
        self.doubt = Growing()
        """For a branch, P(its origin was saturated) when it started."""
        self.passed = Growing()
        """1 for a branch that has done better than its origin, else 0."""
        self.disproved_fails = 0.0
        """Fails that a later gain showed to have been bad luck."""
        self.disproved_ties = 0.0
        self.record = 0.0
        """The best score of a fresh answer."""
        self._scores = [0.0]
        self._depths = [0]
        self._lineage_of = [NO_ORIGIN]
        for skill in self.experience.skills:
            row = self._enrol(skill.expert)
            self.skills.fresh.rows[row] += skill.fresh
            self.skills.steps.rows[row] += skill.steps

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.tops)

    def told(self, node: Node) -> None:
        """Count an answer."""
        row = self._enrol(node.expert)
        self.skills.ended(row, node.parent, node.cost)
        self._scores.append(node.score)
        self._depths.append(node.depth)
        if node.parent == ROOT:
            self.skills.started(row, node.score)
            self.record = max(self.record, node.score)
            self._start(node, NO_ORIGIN)
        else:
            self._refine(row, node)

    def abandoned(self, trial: Trial, cost: int) -> None:
        """Count a call that came to nothing."""
        row = self._enrol(trial.expert)
        self.skills.ended(row, trial.parent, cost)
        self.skills.failed(row)

    def depth(self, node_id: int) -> int:
        """Steps from the root to a node."""
        return self._depths[node_id]

    def _enrol(self, expert: str) -> int:
        row = self.skills.enrol(expert)
        if row == self.fails.rows.shape[1]:
            self.fails.widen()
        return row

    def _start(self, node: Node, origin: int) -> None:
        self._lineage_of.append(self.count)
        self.tops.append(node.id)
        self.backs.append(node.parent)
        for column, number in (
            (self.best, node.score),
            (self.first, node.score),
            (self.fails, 0.0),
            (self.ties, 0.0),
            (self.origin, origin),
            (self.saturated, 0.0),
            (self.doubt, 0.0 if origin == NO_ORIGIN else self.saturated.rows[origin]),
            (self.passed, 0.0),
        ):
            column.append(number)

    def _refine(self, row: int, node: Node) -> None:
        lineage = self._lineage_of[node.parent]
        best = self.best.rows[lineage]
        gain = node.score - self._scores[node.parent]
        if gain > 0.0:
            self.skills.gained(row, gain)
            if node.score <= best:
                self._branch(row, node, lineage)
                return
        elif self._scores[node.parent] < best:
            self.skills.missed(row)
        else:
            self.fails.rows[lineage, row] += 1
            self.ties.rows[lineage] += gain == 0.0
        self._lineage_of.append(lineage)
        if node.score > best:
            self._rise(lineage, node)
        elif node.score == best:
            self._follow(lineage, node)

    def _branch(self, row: int, node: Node, origin: int) -> None:
        self._start(node, origin)
        if node.score == self.best.rows[origin]:
            # Both ended on the same score: as if the branch had been refined once, and tied.
            self.fails.rows[-1, row] = 1
            self.ties.rows[-1] = 1

    def _rise(self, lineage: int, node: Node) -> None:
        """The lineage was not saturated after all: its fails were the experts' own."""
        fails = self.fails.rows[lineage]
        self.skills.steps.rows[: len(fails), 0] += fails
        self.disproved_fails += fails.sum()
        self.disproved_ties += self.ties.rows[lineage]
        fails[:] = 0.0
        self.ties.rows[lineage] = 0.0
        self.saturated.rows[lineage] = 0.0
        self.best.rows[lineage] = node.score
        origin = int(self.origin.rows[lineage])
        if origin != NO_ORIGIN and node.score > self.best.rows[origin]:
            self.passed.rows[lineage] = 1.0
        self.backs[lineage] = node.parent
        self._follow(lineage, node)

    def _follow(self, lineage: int, node: Node) -> None:
        """Go on from the newest of equals: where scores are coarse, it may be the better one."""
        self.tops[lineage] = node.id
