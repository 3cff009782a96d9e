"""Reading a solve back: its row, its calls and its texts, always within one tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, func, select

from app.db.engine import Database
from app.ids import SolveId, TenantId
from app.ledger.postings import CallState, tenant_account
from app.ledger.tables import Call, Entry, InheritedNode, Payload, Solve, SolveInput
from app.money import NanoUSD

# Written once and executed with the ids of each solve: to build a statement anew costs several
# times what it costs to run.
_SOLVE: Final = (
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
        SolveInput.inherited,
        Solve.resumed_from,
        Solve.replay_of,
    )
    .outerjoin(SolveInput, SolveInput.solve_id == Solve.id)
    .where(Solve.id == bindparam("solve"), Solve.tenant_id == bindparam("tenant"))
)
_CALL: Final = (
    Call.id,
    Call.solve_id,
    Call.op,
    Call.attempt,
    Call.state,
    Call.expert,
    Call.expert_version,
    Call.model,
    Call.price_version,
    Call.prompt_sha256,
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
_CALLS: Final = (
    select(*_CALL)
    .where(Call.solve_id == bindparam("solve"))
    .order_by(Call.asked_seq.is_not(None), Call.asked_seq, Call.started_at, Call.attempt)
)
_INHERITED: Final = (
    select(*_CALL)
    .join(InheritedNode, InheritedNode.call_id == Call.id)
    .where(InheritedNode.solve_id == bindparam("solve"))
    .order_by(InheritedNode.node)
)
_TEXTS: Final = select(Payload.name, Payload.body).where(Payload.solve_id == bindparam("solve"))


@dataclass(frozen=True, slots=True)
class SolveRecord:
    """A solve's row as kept.

    `result`, `request`, `plan` and `inherited` are the documents that its run stored.
    """

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
    inherited: Mapping[str, Any] | None
    resumed_from: SolveId | None
    replay_of: SolveId | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call as journalled, in the order the calls were made."""

    id: str
    solve_id: SolveId
    op: str
    attempt: int
    state: CallState
    expert: str
    expert_version: str
    model: str
    price_version: str
    prompt_sha256: str
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
        async with self._db.read() as tx:
            found = await tx.execute(_SOLVE, {"solve": solve_id, "tenant": tenant_id})
            row = found.one_or_none()
        return None if row is None else SolveRecord(SolveId(row[0]), *row[1:])

    async def have_ended(self, solve_ids: Sequence[SolveId]) -> Sequence[bool]:
        """Of each of these solves, whether it has ended."""
        query = select(Solve.id).where(Solve.id.in_(solve_ids), Solve.completed_at.is_not(None))
        async with self._db.glance() as tx:
            ended = set((await tx.scalars(query)).all())
        return [solve_id in ended for solve_id in solve_ids]

    async def calls(self, solve_id: SolveId) -> Sequence[CallRecord]:
        """Every call of the solve, in the order of their intents."""
        async with self._db.read() as tx:
            rows = (await tx.execute(_CALLS, {"solve": solve_id})).mappings().all()
        return [_call(row) for row in rows]

    async def inherited(self, solve_id: SolveId) -> Sequence[CallRecord]:
        """The calls of earlier solves behind the solve's first nodes, in the order of the nodes."""
        async with self._db.read() as tx:
            rows = (await tx.execute(_INHERITED, {"solve": solve_id})).mappings().all()
        return [_call(row) for row in rows]

    async def charged(self, tenant_id: TenantId) -> NanoUSD:
        """All that the entries say the tenant was charged; credits stand apart."""
        charges = Entry.account == tenant_account(tenant_id), Entry.kind == "charge"
        query = select(func.coalesce(func.sum(Entry.amount), 0)).where(*charges)
        async with self._db.read() as tx:
            return NanoUSD(int(await tx.scalar(query) or 0))

    async def texts(self, solve_id: SolveId) -> Mapping[str, str]:
        """The texts still kept, by name."""
        async with self._db.read() as tx:
            rows = (await tx.execute(_TEXTS, {"solve": solve_id})).all()
        return {name: body for name, body in rows}  # noqa: C416 - rows are no tuples to a checker


def _call(row: RowMapping) -> CallRecord:
    facts: dict[str, Any] = {str(name): value for name, value in row.items()}
    facts["state"] = CallState(facts["state"])
    return CallRecord(**facts)
