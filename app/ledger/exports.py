"""Everything that was charged and credited, row by row, a page at a time: memory stays bounded.

Each page is a query of its own that begins after the last row of the one before, so an export holds
no transaction open while its reader is slow. A span that is over is exported whole; in one that is
not, what is posted meanwhile may be missing.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, Select, func, literal, select, tuple_

from app.db.base import Instant
from app.db.engine import Database
from app.ids import TenantId
from app.ledger.corrections import ADJUSTMENT, REFUND
from app.ledger.postings import tenant_account
from app.ledger.tables import Call, Correction, Entry, Solve
from app.money import NanoUSD

PAGE_ROWS: Final = 500
KINDS: Final = ("charge", REFUND, ADJUSTMENT)


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """One entry on a tenant's account, and the call it is about, if any.

    `amount` is what the tenant owes by it, in nano-dollars: negative for a credit.
    """

    id: str
    posted_at: datetime
    kind: str
    tenant_id: TenantId
    project_id: str | None
    key_id: str | None
    cost_center: str | None
    solve_id: str | None
    call_id: str | None
    op: str | None
    attempt: int | None
    expert: str | None
    expert_version: str | None
    provider: str | None
    model: str | None
    returned_model: str | None
    provider_request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    price_version: str | None
    estimated: bool | None
    amount: NanoUSD
    reference: str | None
    reason: str | None
    called_at: datetime | None


_ROWS: Final = (
    select(
        Entry.id,
        Entry.posted_at,
        Entry.kind,
        Entry.account,
        Solve.project_id,
        Solve.key_id,
        Solve.cost_center,
        Entry.solve_id,
        Call.id.label("call_id"),
        Call.op,
        Call.attempt,
        Call.expert,
        Call.expert_version,
        Call.provider,
        Call.model,
        Call.returned_model,
        Call.provider_request_id,
        Call.input_tokens,
        Call.output_tokens,
        Call.price_version,
        Call.estimated,
        Entry.amount,
        Correction.reference,
        Correction.reason,
        Call.started_at.label("called_at"),
    )
    .outerjoin(Correction, Correction.id == Entry.correction_id)
    .outerjoin(Call, Call.id == func.coalesce(Entry.call_id, Correction.call_id))
    .outerjoin(Solve, Solve.id == Call.solve_id)
    .where(Entry.kind.in_(KINDS))
    .order_by(Entry.account, Entry.posted_at, Entry.id)
)


class Exports:
    """Reads what was posted in a span of time: by tenant, oldest first."""

    def __init__(self, database: Database, *, page_rows: int = PAGE_ROWS) -> None:
        self._db, self._page_rows = database, page_rows

    async def pages(
        self, *, start: datetime, end: datetime, tenant_id: TenantId | None = None
    ) -> AsyncGenerator[Sequence[ChargeRow]]:
        """Everything posted in [start, end), of one tenant or of all; no page is empty."""
        rows = _ROWS.where(Entry.posted_at >= start, Entry.posted_at < end, _whose(tenant_id))
        last: RowMapping | None = None
        while True:
            async with self._db.glance() as tx:
                found = (await tx.execute(_after(rows, last, self._page_rows))).mappings().all()
            if found:
                yield [_row(row) for row in found]
                last = found[-1]
            if len(found) < self._page_rows:
                return


def _whose(tenant_id: TenantId | None) -> Any:  # noqa: ANN401 - a condition
    if tenant_id is None:
        return Entry.account.startswith(tenant_account(""), autoescape=True)
    return Entry.account == tenant_account(tenant_id)


def _after(
    rows: Select[*tuple[Any, ...]], last: RowMapping | None, most: int
) -> Select[*tuple[Any, ...]]:
    if last is not None:
        place = (
            literal(last["account"]),
            literal(last["posted_at"], Instant()),
            literal(last["id"]),
        )
        rows = rows.where(tuple_(Entry.account, Entry.posted_at, Entry.id) > tuple_(*place))
    return rows.limit(most)


def _row(row: RowMapping) -> ChargeRow:
    facts: dict[str, Any] = {str(name): value for name, value in row.items()}
    facts["tenant_id"] = TenantId(facts.pop("account").removeprefix(tenant_account("")))
    return ChargeRow(**facts)
