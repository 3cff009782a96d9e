"""Finished and running solves, read back for the tenant that owns them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import GatewayError
from app.ledger.records import CallRecord, Records, SolveRecord
from app.search.events import Event
from app.solve.report import Solved, solved_from
from app.solve.request import request_from
from app.solve.tree import TreeNode, node_calls, nodes, read_log, reopen
from app.store.treelog import TreeLog
from app.tenants.directory import Tenant


class NoSuchSolve(GatewayError):
    """This tenant has no solve of that id."""


class ResultErased(GatewayError):
    """The texts of this solve were erased; what it cost is still on record."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A solve as kept: its row, its result once it has ended, its calls and remaining texts."""

    record: SolveRecord
    solved: Solved | None
    calls: Sequence[CallRecord]
    texts: Mapping[str, str]

    @property
    def is_erased(self) -> bool:
        """Whether what was asked and answered is gone, and only the money is left."""
        return self.record.request is None


class Archive:
    """Reads solves; changes nothing."""

    def __init__(self, *, records: Records, tree_log: TreeLog) -> None:
        self._records, self._tree_log = records, tree_log

    async def find(self, tenant: Tenant, solve_id: str) -> Archived:
        """Everything kept of a solve. Raises NoSuchSolve for another tenant's, too."""
        # PostgreSQL takes no text with a NUL, not even to look for it.
        known = solve_id.isprintable()
        record = await self._records.solve(tenant.id, solve_id) if known else None
        if record is None:
            raise NoSuchSolve(f"there is no solve {solve_id!r}")
        return Archived(
            record=record,
            solved=None if record.result is None else solved_from(record.result),
            calls=await self._records.calls(record.id),
            texts=await self._records.texts(record.id),
        )

    async def log(self, found: Archived) -> Sequence[Event]:
        """The log of a solve's search, which holds no text; none where there was no search.

        Nor where the tree store has lost it and what it could be rebuilt from was erased.
        """
        if log := await read_log(self._tree_log, found.record.id):
            return log
        search = await reopen(self._tree_log, found.record, found.calls)
        return () if search is None else search.log

    async def tree(self, tenant: Tenant, solve_id: str) -> list[TreeNode]:
        """The nodes of a solve's search, as far as it has come; none where it did not search.

        Raises ResultErased when what a replay needs was erased.
        """
        found = await self.find(tenant, solve_id)
        if found.is_erased:
            raise ResultErased(f"the texts of {solve_id} were erased")
        search = await reopen(self._tree_log, found.record, found.calls)
        if search is None or found.record.request is None:
            return []
        request = request_from(found.record.request)
        inherited = await self._records.inherited(found.record.id)
        behind = node_calls(search, found.calls, inherited)
        return nodes(
            search, request, behind, found.texts, of=found.record.replay_of or found.record.id
        )
