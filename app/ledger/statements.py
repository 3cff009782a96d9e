"""A tenant's month: what was charged and what was credited in it, by when that was posted.

A month that is over can be closed. It is then kept as it was told and never changes: whatever is
corrected later is an entry of the month in which it is corrected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Integer, Row, case, cast, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import now
from app.db.engine import Database, ReadTx, WriteTx
from app.errors import InvalidRequest
from app.ids import TenantId
from app.ledger.corrections import REFUND, Credit, credits_between
from app.ledger.finance_tables import StatementRow
from app.ledger.months import Month
from app.ledger.postings import tenant_account
from app.ledger.tables import Call, Entry, Solve
from app.money import NanoUSD

SETTLES_IN: Final = timedelta(minutes=10)
"""How long after its end a month may be closed: longer than any transaction that posts to it."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """What the calls of an expert, model and cost center were charged; no free one is counted."""

    cost_center: str | None
    expert: str
    provider: str
    model: str
    calls: int
    estimated_calls: int
    input_tokens: int
    output_tokens: int
    cost: NanoUSD


@dataclass(frozen=True, slots=True)
class Statement:
    """A month; amounts in nano-dollars. `closed_at` is None while it may still change."""

    tenant_id: TenantId
    month: str
    lines: Sequence[StatementLine]
    credits: Sequence[Credit]
    closed_at: datetime | None = None

    @property
    def charges(self) -> NanoUSD:
        """What the receipts of the month's charges add up to."""
        return NanoUSD(sum(line.cost for line in self.lines))

    @property
    def refunds(self) -> NanoUSD:
        """What was given back of calls."""
        return NanoUSD(sum(one.amount for one in self.credits if one.kind == REFUND))

    @property
    def adjustments(self) -> NanoUSD:
        """What was credited for no call in particular; negative where more was charged."""
        return NanoUSD(sum(one.amount for one in self.credits if one.kind != REFUND))

    @property
    def total(self) -> NanoUSD:
        """What is owed for the month."""
        return NanoUSD(self.charges - self.refunds - self.adjustments)


class Statements:
    """Tells months, and closes them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def of(self, tenant_id: TenantId, month: Month) -> Statement:
        """The month as it was closed, or as it stands."""
        async with self._db.read() as tx:
            closed = await _closed(tx, tenant_id, month)
            return await _told(tx, tenant_id, month) if closed is None else closed

    async def close(self, tenant_id: TenantId, month: Month) -> Statement:
        """Close a month that is over; once closed it is what it was, however often it is asked for.

        Raises InvalidRequest while something may still be posted to it.
        """

        async def work(tx: WriteTx) -> Statement:
            at = await now(tx)
            if at < month.end + SETTLES_IN:
                opens = f"{month.end + SETTLES_IN:%Y-%m-%d %H:%M} UTC"
                raise InvalidRequest("month", f"{month} can be closed from {opens} on")
            if (closed := await _closed(tx, tenant_id, month)) is not None:
                return closed
            told = replace(await _told(tx, tenant_id, month), closed_at=at)
            row = upsert(StatementRow).values(
                tenant_id=tenant_id,
                month=str(month),
                charges=told.charges,
                refunds=told.refunds,
                adjustments=told.adjustments,
                document=msgspec.to_builtins(told),
                closed_at=at,
            )
            await tx.execute(row.on_conflict_do_nothing())
            closed = await _closed(tx, tenant_id, month)
            assert closed is not None, "it was just written, by us or another"
            return closed

        return await self._db.write(work)


async def _closed(tx: ReadTx, tenant_id: TenantId, month: Month) -> Statement | None:
    query = select(StatementRow.document).where(
        StatementRow.tenant_id == tenant_id, StatementRow.month == str(month)
    )
    document = await tx.scalar(query)
    return None if document is None else msgspec.convert(document, Statement)


async def _told(tx: ReadTx, tenant_id: TenantId, month: Month) -> Statement:
    group = (Solve.cost_center, Call.expert, Call.provider, Call.model)
    query = (
        select(
            *group,
            func.count(),
            func.sum(cast(case((Call.estimated, 1), else_=0), Integer)),
            func.coalesce(func.sum(Call.input_tokens), 0),
            func.coalesce(func.sum(Call.output_tokens), 0),
            func.sum(Entry.amount),
        )
        .join(Call, Call.id == Entry.call_id)
        .join(Solve, Solve.id == Call.solve_id)
        .where(Entry.account == tenant_account(tenant_id), Entry.kind == "charge")
        .where(Entry.posted_at >= month.start, Entry.posted_at < month.end)
        .group_by(*group)
        .order_by(*group)
    )
    lines = [_line(row) for row in (await tx.execute(query)).all()]
    credits_ = await credits_between(tx, tenant_id, start=month.start, end=month.end)
    return Statement(tenant_id, str(month), lines, credits_)


def _line(row: Row[*tuple[Any, ...]]) -> StatementLine:
    # Sums of integers are decimals on PostgreSQL.
    center, expert, provider, model, *figures = row
    calls, estimated, input_tokens, output_tokens, cost = map(int, figures)
    return StatementLine(
        cost_center=center,
        expert=expert,
        provider=provider,
        model=model,
        calls=calls,
        estimated_calls=estimated,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost=NanoUSD(cost),
    )
