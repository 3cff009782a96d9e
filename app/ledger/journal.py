"""The call journal: an intent committed before each upstream call, its outcome committed after.

An intent without an outcome is a call that may have happened. It is never forgotten: somebody books
its outcome, or it ends as cancelled or orphaned when its solve is finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import String, bindparam, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.db.clock import Clock
from app.db.engine import WriteTx
from app.db.texts import storable
from app.ids import SolveId, TenantId, uuid7
from app.ledger.postings import Bill, CallState, Share, postings, share
from app.ledger.retention import keep_texts
from app.ledger.tables import Call, Entry, Solve
from app.money import NanoUSD

# Written once and executed with the facts of each call: to build a statement anew costs several
# times what it costs to run.
_BEGIN: Final = insert(Call).values(started_at=Clock())
_CLOSE: Final = (
    update(Call)
    .where(Call.id == bindparam("call"), Call.state == CallState.INTENT)
    .values(
        state=bindparam("ended_as"),
        cost=bindparam("paid"),
        estimated=bindparam("guessed"),
        returned_model=bindparam("answered_by"),
        provider_request_id=bindparam("request_id"),
        input_tokens=bindparam("sent_tokens"),
        output_tokens=bindparam("received_tokens"),
        finish_reason=bindparam("finished"),
        error=bindparam("went_wrong"),
        ended_at=Clock(),
    )
    .returning(Call.id)
)
_CHARGE: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"))
    .values(posted=Solve.posted + bindparam("spent"), inflight=Solve.inflight - bindparam("drawn"))
)
_POST: Final = insert(Entry).values(posted_at=Clock())
_OPEN_CALLS: Final = (
    select(Call.id, Call.op, Call.provider, Call.price_version, Call.max_cost)
    .where(Call.solve_id == bindparam("solve"), Call.state == CallState.INTENT)
    .with_for_update()
)
_NONE_IN_FLIGHT: Final = update(Solve).where(Solve.id == bindparam("solve")).values(inflight=0)
_ROOM: Final = (
    select(Solve.hold - Solve.posted - Solve.inflight)
    .where(Solve.id == bindparam("solve"))
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class TrialPlace:
    """Where a call stands in its search's log: the ask, its parent node, and the event's number."""

    ask: int
    parent: int
    asked_seq: int


@dataclass(frozen=True, slots=True)
class Intent:
    """A call about to be made; `max_cost` is the most it can cost."""

    call_id: str
    op: str
    attempt: int
    expert: str
    expert_version: str
    provider: str
    model: str
    price_version: str
    prompt_sha256: str
    max_cost: NanoUSD
    trial: TrialPlace | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a search was told about a call's answer: its score, or why it was abandoned."""

    call_id: str
    seq: int
    score: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OpenCall:
    """An intent as its outcome needs it."""

    id: str
    solve_id: SolveId
    tenant_id: TenantId
    op: str
    provider: str
    price_version: str
    max_cost: NanoUSD


@dataclass(frozen=True, slots=True)
class CallResult:
    """What became of a call: its bill, and what the provider said about it."""

    bill: Bill
    input_tokens: int | None = None
    output_tokens: int | None = None
    text: str | None = None
    finish_reason: str | None = None
    returned_model: str | None = None
    provider_request_id: str | None = None
    error: str | None = None


CUT_SHORT: Final = CallResult(Bill(CallState.CANCELLED, billed=None), error="the solve ended first")
"""What becomes of a call that is still open when its solve ends."""


async def begin(tx: WriteTx, solve_id: SolveId, intent: Intent) -> None:
    """Write the intent; its id (solve, op, attempt) can be written only once."""
    trial = intent.trial
    await tx.execute(
        _BEGIN,
        {
            "id": intent.call_id,
            "solve_id": solve_id,
            "op": intent.op,
            "attempt": intent.attempt,
            "state": CallState.INTENT,
            "expert": intent.expert,
            "expert_version": intent.expert_version,
            "provider": intent.provider,
            "model": intent.model,
            "price_version": intent.price_version,
            "prompt_sha256": intent.prompt_sha256,
            "max_cost": intent.max_cost,
            "ask": trial.ask if trial else None,
            "parent": trial.parent if trial else None,
            "asked_seq": trial.asked_seq if trial else None,
        },
    )


async def end(tx: WriteTx, call: OpenCall, result: CallResult) -> Share | None:
    """Book the outcome of an intent: state, cost, entries, text. None if it was booked before."""
    room = await _room(tx, call.solve_id)
    split = share(result.bill, max_cost=call.max_cost, room=room)
    if not await _close(tx, call.id, result, split):
        return None
    await tx.execute(
        _CHARGE, {"solve": call.solve_id, "spent": split.tenant, "drawn": call.max_cost}
    )
    await _post(tx, call, split)
    if result.text is not None:
        await keep_texts(tx, call.solve_id, {text_name(call.op): result.text})
    return split


async def note(tx: WriteTx, told: Sequence[Told]) -> None:
    """Place answers in their search's log.

    Late by up to a call: an answer that a crash leaves without a score is evaluated again.
    """
    for one in told:
        await tx.execute(
            update(Call)
            .where(Call.id == one.call_id)
            .values(
                told_seq=one.seq, score=one.score, abandoned=_fitting(Call.abandoned, one.reason)
            )
        )


async def withdraw(tx: WriteTx, call_id: str) -> None:
    """End an intent whose call was certainly not made: nobody can have charged for it."""
    bill = Bill(CallState.CANCELLED, billed=None, may_have_worked=False)
    split = share(bill, max_cost=NanoUSD(0), room=NanoUSD(0))
    await _close(tx, call_id, CallResult(bill, error="the solve ended before it was made"), split)


async def cancel_open(tx: WriteTx, solve_id: SolveId, tenant_id: TenantId) -> None:
    """End every intent of a solve that ends first: its worst case waits in suspense.

    The caller, who writes the solve's row anyway, says there that nothing is in flight.
    """
    await _end_open(tx, solve_id, tenant_id, CUT_SHORT)


async def orphan_open(tx: WriteTx, solve_id: SolveId, tenant_id: TenantId) -> None:
    """Name the calls whose process died before their outcome: they may have happened."""
    result = CallResult(Bill(CallState.ORPHAN, billed=None), error="its process died first")
    await _end_open(tx, solve_id, tenant_id, result)
    await tx.execute(_NONE_IN_FLIGHT, {"solve": solve_id})


async def _end_open(
    tx: WriteTx, solve_id: SolveId, tenant_id: TenantId, result: CallResult
) -> None:
    found = await tx.execute(_OPEN_CALLS, {"solve": solve_id})
    for call_id, op, provider, price_version, max_cost in found.all():
        call = OpenCall(call_id, solve_id, tenant_id, op, provider, price_version, max_cost)
        split = share(result.bill, max_cost=max_cost, room=NanoUSD(0))
        await _close(tx, call.id, result, split)
        await _post(tx, call, split)


def text_name(op: str) -> str:
    """The name under which the text of a call's answer is kept."""
    return f"call:{op}"


async def _room(tx: WriteTx, solve_id: SolveId) -> NanoUSD:
    # Locked first, so that two outcomes cannot both spend the same room on their overruns; and the
    # solve before its call, as everybody does, or an outcome and the finish could deadlock.
    return NanoUSD((await tx.execute(_ROOM, {"solve": solve_id})).scalar_one())


async def _close(tx: WriteTx, call_id: str, result: CallResult, split: Share) -> bool:
    closed = await tx.scalar(
        _CLOSE,
        {
            "call": call_id,
            "ended_as": result.bill.state,
            "paid": split.tenant,
            "guessed": result.bill.billed is None and bool(split.tenant or split.suspense),
            "answered_by": _fitting(Call.returned_model, result.returned_model),
            "request_id": _fitting(Call.provider_request_id, result.provider_request_id),
            "sent_tokens": result.input_tokens,
            "received_tokens": result.output_tokens,
            "finished": _fitting(Call.finish_reason, result.finish_reason),
            "went_wrong": _fitting(Call.error, result.error),
        },
    )
    return closed is not None


def _fitting(column: InstrumentedAttribute[str | None], text: str | None) -> str | None:
    # What a provider says of its answer is cut to the column: no outcome is refused for it.
    assert isinstance(column.type, String)
    return None if text is None else storable(text)[: column.type.length]


async def _post(tx: WriteTx, call: OpenCall, split: Share) -> None:
    rows = [
        {
            "id": f"ent_{uuid7().hex}",
            "call_id": call.id,
            "solve_id": call.solve_id,
            "kind": posting.kind,
            "account": posting.account,
            "amount": posting.amount,
            "price_version": call.price_version,
        }
        for posting in postings(split, tenant_id=call.tenant_id, provider=call.provider)
    ]
    if rows:
        await tx.execute(_POST, rows)
