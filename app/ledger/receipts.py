"""A solve's receipt: one line a call, at the prices that were in force, adding up to what it cost.

Read from the journal, the entries and the price table alone, so that it outlives every text.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, and_, bindparam, literal, select

from app.db.engine import Database, ReadTx
from app.ids import SolveId, TenantId
from app.ledger.corrections import Credit, credits_of
from app.ledger.postings import CallState, tenant_account
from app.ledger.tables import Call, Entry, PriceRow, Solve
from app.money import NanoUSD


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """One call and what its tenant paid for it; nothing for most of those that were cut short.

    `rates` are nano-dollars per million tokens of each unit, empty where the price was never put on
    record. `posted_at` is when the charge was booked, None where there was none.
    """

    call_id: str
    op: str
    attempt: int
    state: CallState
    started_at: datetime
    ended_at: datetime | None
    posted_at: datetime | None
    expert: str
    expert_version: str
    provider: str
    model: str
    returned_model: str | None
    provider_request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    price_version: str
    rates: Mapping[str, NanoUSD]
    estimated: bool
    cost: NanoUSD


@dataclass(frozen=True, slots=True)
class Receipt:
    """A solve's lines in the order of its calls; they add up to `total`, what the solve posted.

    What was given back of it since stands apart, in `credits`.
    """

    solve_id: SolveId
    state: str
    account: str
    project_id: str | None
    key_id: str
    cost_center: str | None
    created_at: datetime
    completed_at: datetime | None
    total: NanoUSD
    lines: Sequence[ReceiptLine]
    credits: Sequence[Credit]


_SOLVE: Final = select(
    Solve.id,
    Solve.state,
    Solve.project_id,
    Solve.key_id,
    Solve.cost_center,
    Solve.created_at,
    Solve.completed_at,
    Solve.posted,
).where(Solve.id == bindparam("solve"), Solve.tenant_id == bindparam("tenant"))

_LINES: Final = (
    select(
        Call.id,
        Call.op,
        Call.attempt,
        Call.state,
        Call.started_at,
        Call.ended_at,
        Entry.posted_at,
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
        Call.cost,
    )
    .outerjoin(
        Entry,
        and_(
            Entry.call_id == Call.id,
            Entry.kind == "charge",
            Entry.account == literal(tenant_account("")) + bindparam("tenant"),
        ),
    )
    .where(Call.solve_id == bindparam("solve"))
    .order_by(Call.started_at, Call.id)
)


class Receipts:
    """Reads receipts; a running solve's shows what was charged so far."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def of(self, tenant_id: TenantId, solve_id: str) -> Receipt | None:
        """The receipt of a solve, or None where this tenant has none of that id."""
        whose = {"solve": solve_id, "tenant": tenant_id}
        async with self._db.read() as tx:
            solve = (await tx.execute(_SOLVE, whose)).one_or_none()
            if solve is None:
                return None
            rows = (await tx.execute(_LINES, whose)).mappings().all()
            given = await credits_of(tx, solve_id=SolveId(solve_id))
            rates = await rates_of(tx, {row["price_version"] for row in rows})
        made, state, project, key, cost_center, created_at, completed_at, total = solve
        return Receipt(
            solve_id=SolveId(made),
            state=state,
            account=tenant_account(tenant_id),
            project_id=project,
            key_id=key,
            cost_center=cost_center,
            created_at=created_at,
            completed_at=completed_at,
            total=total,
            lines=[_line(row, rates) for row in rows],
            credits=given,
        )


async def rates_of(tx: ReadTx, versions: Collection[str]) -> Mapping[str, Mapping[str, NanoUSD]]:
    """The rate of each unit of these price versions."""
    query = select(PriceRow.version, PriceRow.unit, PriceRow.nano_per_million)
    found: defaultdict[str, dict[str, NanoUSD]] = defaultdict(dict)
    for version, unit, rate in await tx.execute(query.where(PriceRow.version.in_(versions))):
        found[version][unit] = rate
    return found


def _line(row: RowMapping, rates: Mapping[str, Mapping[str, NanoUSD]]) -> ReceiptLine:
    facts: dict[str, Any] = {str(name): value for name, value in row.items()}
    facts["call_id"], facts["state"] = facts.pop("id"), CallState(facts["state"])
    return ReceiptLine(**facts, rates=rates.get(facts["price_version"], {}))
