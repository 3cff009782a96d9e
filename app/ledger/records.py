"""Reading a solve back: its row, its calls and its texts, always within one tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, select

from app.db.engine import Database
from app.ids import SolveId, TenantId
from app.ledger.postings import CallState, tenant_account
from app.ledger.tables import Call, Entry, Payload, Solve, SolveInput
from app.money import NanoUSD


@dataclass(frozen=True, slots=True)
class SolveRecord:
    """A solve's row as kept. `result`, `request` and `plan` are the documents its run stored."""

    id: SolveId
    state: str
    created_at: datetime
    completed_at: datetime | None
    cap: NanoUSD
    hold: NanoUSD
    posted: NanoUSD
    result: Mapping[str, Any] | None
    request: Mapping[str, Any] | None
    plan: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call as journalled, in the order the calls were made."""

    id: str
    op: str
    attempt: int
    state: CallState
    expert: str
    expert_version: str
    model: str
    price_version: str
    cost: NanoUSD
    estimated: bool
    input_tokens: int | None
    output_tokens: int | None
    finish_reason: str | None
    ask: int | None
    parent: int | None
    asked_seq: int | None
    propensity: float | None
    widen: float | None
    told_seq: int | None
    score: float | None
    abandoned: str | None
    error: str | None


class Records:
    """What the ledger remembers of solves."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def solve(self, tenant_id: TenantId, solve_id: str) -> SolveRecord | None:
        """The solve, or None where this tenant has none of that id."""
        query = (
            select(
                Solve.id,
                Solve.state,
                Solve.created_at,
                Solve.completed_at,
                Solve.cap,
                Solve.hold,
                Solve.posted,
                Solve.result,
                SolveInput.request,
                SolveInput.plan,
            )
            .outerjoin(SolveInput, SolveInput.solve_id == Solve.id)
            .where(Solve.id == solve_id, Solve.tenant_id == tenant_id)
        )
        async with self._db.read() as tx:
            row = (await tx.execute(query)).one_or_none()
        return None if row is None else SolveRecord(SolveId(row[0]), *row[1:])

    async def have_ended(self, solve_ids: Sequence[SolveId]) -> Sequence[bool]:
        """Of each of these solves, whether it has ended."""
        query = select(Solve.id).where(Solve.id.in_(solve_ids), Solve.completed_at.is_not(None))
        async with self._db.glance() as tx:
            ended = set((await tx.scalars(query)).all())
        return [solve_id in ended for solve_id in solve_ids]

    async def calls(self, solve_id: SolveId) -> Sequence[CallRecord]:
        """Every call of the solve, in the order of their intents."""
        query = (
            select(
                Call.id,
                Call.op,
                Call.attempt,
                Call.state,
                Call.expert,
                Call.expert_version,
                Call.model,
                Call.price_version,
                Call.cost,
                Call.estimated,
                Call.input_tokens,
                Call.output_tokens,
                Call.finish_reason,
                Call.ask,
                Call.parent,
                Call.asked_seq,
                Call.propensity,
                Call.widen,
                Call.told_seq,
                Call.score,
                Call.abandoned,
                Call.error,
            )
            .where(Call.solve_id == solve_id)
            .order_by(Call.asked_seq.is_not(None), Call.asked_seq, Call.started_at, Call.attempt)
        )
        async with self._db.read() as tx:
            rows = (await tx.execute(query)).mappings().all()
        return [_call(row) for row in rows]

    async def charged(self, tenant_id: TenantId) -> NanoUSD:
        """All that the entries say the tenant was charged."""
        account = tenant_account(tenant_id)
        query = select(func.coalesce(func.sum(Entry.amount), 0)).where(Entry.account == account)
        async with self._db.read() as tx:
            return NanoUSD(int(await tx.scalar(query) or 0))

    async def texts(self, solve_id: SolveId) -> Mapping[str, str]:
        """The texts still kept, by name."""
        query = select(Payload.name, Payload.body).where(Payload.solve_id == solve_id)
        async with self._db.read() as tx:
            rows = (await tx.execute(query)).all()
        return {name: body for name, body in rows}  # noqa: C416 - rows are no tuples to a checker


def _call(row: RowMapping) -> CallRecord:
    facts: dict[str, Any] = {str(name): value for name, value in row.items()}
    facts["state"] = CallState(facts["state"])
    return CallRecord(**facts)
