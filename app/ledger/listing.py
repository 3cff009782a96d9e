"""A tenant's solves, newest first, a page at a time: what became of each and what it cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from app.db.documents import MetadataText
from app.db.engine import Database
from app.ids import SolveId, TenantId
from app.ledger.cancelling import LIVE, RUNNING
from app.ledger.tables import Solve, SolveInput
from app.money import NanoUSD


@dataclass(frozen=True, slots=True)
class Filters:
    """Which solves are wanted; None is any. Created in [start, end).

    `metadata` is a key that a solve must have, and the value that it must have there if one is
    given.
    """

    status: str | None = None
    route: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    metadata: tuple[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class ListedSolve:
    """A solve's row and the metadata that came with it."""

    id: SolveId
    status: str
    created_at: datetime
    completed_at: datetime | None
    route: str | None
    project_id: str | None
    key_id: str
    cap: NanoUSD
    posted: NanoUSD
    resumed_from: SolveId | None
    replay_of: SolveId | None
    metadata: Mapping[str, str]


class Listing:
    """Lists solves, always within one tenant."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def page(
        self, tenant_id: TenantId, filters: Filters, *, most: int, after: str | None = None
    ) -> tuple[Sequence[ListedSolve], bool]:
        """Up to `most` solves older than the one of the id `after`, and whether there are more."""
        query = (
            select(
                Solve.id,
                Solve.state,
                Solve.created_at,
                Solve.completed_at,
                Solve.route,
                Solve.project_id,
                Solve.key_id,
                Solve.cap,
                Solve.posted,
                Solve.resumed_from,
                Solve.replay_of,
                Solve.result["metadata"],
                SolveInput.request["metadata"],
            )
            .outerjoin(SolveInput, SolveInput.solve_id == Solve.id)
            .where(Solve.tenant_id == tenant_id, *_conditions(filters))
            # Their ids begin with the time at which they were made.
            .order_by(Solve.id.desc())
            .limit(most + 1)
        )
        if after is not None:
            query = query.where(Solve.id < after)
        async with self._db.read() as tx:
            rows = (await tx.execute(query)).all()
        return [_listed(*row) for row in rows[:most]], len(rows) > most


def _conditions(filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.status == RUNNING:
        yield Solve.state.in_(LIVE)
    elif filters.status is not None:
        yield Solve.state == filters.status
    if filters.route is not None:
        yield Solve.route == filters.route
    if filters.project_id is not None:
        yield Solve.project_id == filters.project_id
    if filters.key_id is not None:
        yield Solve.key_id == filters.key_id
    if filters.start is not None:
        yield Solve.created_at >= filters.start
    if filters.end is not None:
        yield Solve.created_at < filters.end
    if filters.metadata is not None:
        key, value = filters.metadata
        # In the result once there is one, for the request may be erased.
        sources = Solve.result.expression, SolveInput.request.expression
        found = func.coalesce(*(MetadataText(source, key) for source in sources))
        yield found.is_not(None) if value is None else found == value


def _listed(solve_id: str, state: str, *row: Any) -> ListedSolve:  # noqa: ANN401 - a row
    *facts, stored, asked = row
    status = RUNNING if state in LIVE else state
    facts.append(stored or asked or {})
    return ListedSolve(SolveId(solve_id), status, *facts)
