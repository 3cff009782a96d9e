"""Which experts may still be asked. It counts failures; how good answers were, the tree knows."""

from collections.abc import Sequence

from app.search.settings import check_distinct

FAILURES_MAX = 3
"""Abandoned trials in a row, without an answer in between, that end an expert's use."""


class Roster:
    """The experts of a search, in the order they were named, with their failures in a row.

    An expert whose use has ended stays out, even if an answer of it comes in late.
    """

    def __init__(self, experts: Sequence[str]) -> None:
        self._failures = dict.fromkeys(experts, 0)

    @property
    def in_use(self) -> tuple[str, ...]:
        """Those that may be asked."""
        return tuple(e for e, failures in self._failures.items() if failures < FAILURES_MAX)

    def answered(self, expert: str) -> None:
        """Forgive `expert` its failures, unless they have ended its use."""
        if expert in self.in_use:
            self._failures[expert] = 0

    def failed(self, expert: str) -> None:
        """Count a failure; of an expert no longer named, it counts for nothing."""
        if expert in self._failures:
            self._failures[expert] += 1

    def replace(self, experts: Sequence[str]) -> None:
        """Name other experts; one that stays keeps its failures, one that comes has none.

        So an expert out of use gets another chance by being taken off and named again.
        """
        check_distinct(experts)
        self._failures = {expert: self._failures.get(expert, 0) for expert in experts}
