"""What was used and what it cost, added up from the journal: by expert, key, cost center."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, case, cast, func, select

from app.db.engine import Database
from app.ids import TenantId
from app.ledger.tables import Call, Solve
from app.money import NanoUSD


class GroupBy(StrEnum):
    """What one row of a usage report stands for."""

    EXPERT = "expert"
    MODEL = "model"
    ROUTE = "route"
    PROJECT = "project"
    KEY = "key"
    COST_CENTER = "cost_center"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The calls of one group; `group` is None where a solve has no such thing (yet)."""

    group: str | None
    solves: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost: NanoUSD
    estimated_calls: int


COLUMNS: Mapping[GroupBy, ColumnElement[Any]] = {
    GroupBy.EXPERT: Call.expert.expression,
    GroupBy.MODEL: Call.model.expression,
    GroupBy.ROUTE: Solve.route.expression,
    GroupBy.PROJECT: Solve.project_id.expression,
    GroupBy.KEY: Solve.key_id.expression,
    GroupBy.COST_CENTER: Solve.cost_center.expression,
}


class Usage:
    """Reads usage; every call is in exactly one row, by the time at which it started."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def report(
        self, tenant_id: TenantId, *, group_by: GroupBy, start: datetime, end: datetime
    ) -> Sequence[UsageRow]:
        """A tenant's calls started in [start, end), dearest group first."""
        group = COLUMNS[group_by]
        cost = func.coalesce(func.sum(Call.cost), 0)
        query = (
            select(
                group,
                func.count(func.distinct(Call.solve_id)),
                func.count(),
                func.coalesce(func.sum(Call.input_tokens), 0),
                func.coalesce(func.sum(Call.output_tokens), 0),
                cost,
                func.sum(cast(case((Call.estimated, 1), else_=0), Integer)),
            )
            .join(Solve, Solve.id == Call.solve_id)
            .where(Solve.tenant_id == tenant_id)
            .where(Call.started_at >= start, Call.started_at < end)
            .group_by(group)
            .order_by(cost.desc(), group)
        )
        async with self._db.read() as tx:
            rows = (await tx.execute(query)).all()
        return [_row(row) for row in rows]


def _row(row: Row[*tuple[Any, ...]]) -> UsageRow:
    # Sums of integers are decimals on PostgreSQL.
    group, *figures = row
    solves, calls, input_tokens, output_tokens, cost, estimated = map(int, figures)
    return UsageRow(
        group, solves, calls, input_tokens, output_tokens, NanoUSD(cost), estimated_calls=estimated
    )
