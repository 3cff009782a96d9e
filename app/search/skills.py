"""What each expert has done in a search, as counts: fresh answers, refinements, calls, failures."""

from typing import Final

from app.search.growing import Growing
from app.search.tree import ROOT

STRANGER: Final = 0
"""The row of an expert that was never asked: zeros, for good."""

FRESH: Final = 0
REFINED: Final = 1


class Skills:
    """One row an expert, from its first trial on; adds up in O(1)."""

    def __init__(self) -> None:
        self.row_of: dict[str, int] = {}
        self.fresh = Growing(3)
        """Fresh answers: how many, the sum and the sum of squares of their scores."""
        self.steps = Growing(4)
        """Refinements that say something of the expert: how many, how many of them gained, the sum
        and the sum of squares of the gains. Those that failed in a lineage that may have hit its
        ceiling are not here but in `Lineages`."""
        self.calls: list[list[int]] = []
        """Calls that ended, answered or not: fresh, refining."""
        self.paid: list[list[int]] = []
        """What they cost."""
        self.failures: list[int] = []
        """Those that ended without an answer."""
        self._append()

    @property
    def calls_ended(self) -> int:
        """Of all experts."""
        return sum(map(sum, self.calls))

    @property
    def spent(self) -> int:
        """On all calls."""
        return sum(map(sum, self.paid))

    def known(self, expert: str) -> int:
        """The row of `expert`; that of a stranger if it has none."""
        return self.row_of.get(expert, STRANGER)

    def enrol(self, expert: str) -> int:
        """The row of `expert`, made if it has none."""
        if expert not in self.row_of:
            self._append()
            self.row_of[expert] = self.fresh.count - 1
        return self.row_of[expert]

    def ended(self, row: int, parent: int, cost: int) -> None:
        """A call ended, with an answer or without, and was paid for."""
        role = FRESH if parent == ROOT else REFINED
        self.calls[row][role] += 1
        self.paid[row][role] += cost

    def failed(self, row: int) -> None:
        """The call that ended gave no answer."""
        self.failures[row] += 1

    def started(self, row: int, score: float) -> None:
        """A fresh answer."""
        self.fresh.rows[row] += (1, score, score * score)

    def gained(self, row: int, gain: float) -> None:
        """A refinement that was better than its parent."""
        self.steps.rows[row] += (1, 1, gain, gain * gain)

    def missed(self, row: int) -> None:
        """A refinement that was not, of a node that could be bettered."""
        self.steps.rows[row, 0] += 1

    def _append(self) -> None:
        self.fresh.append(0.0)
        self.steps.append(0.0)
        self.calls.append([0, 0])
        self.paid.append([0, 0])
        self.failures.append(0)
