"""The call journal: an intent committed before each upstream call, its outcome committed after.

An intent without an outcome is a call that may have happened. It is never forgotten: somebody books
its outcome, or it ends as cancelled or orphaned when its solve is finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from sqlalchemy import String, bindparam, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.db.clock import Clock
from app.db.engine import ReadTx, WriteTx
from app.db.texts import storable
from app.ids import SolveId, TenantId, uuid7
from app.ledger.postings import Bill, CallState, Posting, Share, postings, share
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
)
_CLOSE_ONE: Final = _CLOSE.returning(Call.id)
_NOTE: Final = (
    update(Call)
    .where(Call.id == bindparam("call"))
    .values(told_seq=bindparam("seq"), score=bindparam("scored"), abandoned=bindparam("given_up"))
)
_CHARGE: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"))
    .values(posted=Solve.posted + bindparam("spent"), inflight=Solve.inflight - bindparam("drawn"))
)
_POST: Final = insert(Entry).values(posted_at=Clock())
_OPEN_CALLS: Final = (
    select(
        Call.id,
        Call.solve_id,
        Solve.tenant_id,
        Call.op,
        Call.provider,
        Call.price_version,
        Call.max_cost,
    )
    .join(Solve, Solve.id == Call.solve_id)
    .where(Call.solve_id.in_(bindparam("solves", expanding=True)), Call.state == CallState.INTENT)
    .with_for_update(of=Call)
)
_NONE_IN_FLIGHT: Final = (
    update(Solve).where(Solve.id.in_(bindparam("solves", expanding=True))).values(inflight=0)
)
_ROOM: Final = (
    select(Solve.hold - Solve.posted - Solve.inflight)
    .where(Solve.id == bindparam("solve"))
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class TrialPlace:
    """Where a call stands in its search's log: the ask, its parent node, and the event's number.

    `propensity` is how likely this trial was when it was chosen, `widen` how likely it was to go
    wider where it went; None where nothing was weighed.
    """

    ask: int
    parent: int
    asked_seq: int
    propensity: float | None = None
    widen: float | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A call about to be made, which costs and uses no more than `max_cost` and `max_tokens`."""

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
    max_tokens: int = 0


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
    """What became of a call: its bill, and what the provider said about it.

    `counted_tokens` is our own count of an answer whose provider reported no usage; the journal
    keeps none of it, for it is no fact.
    """

    bill: Bill
    input_tokens: int | None = None
    output_tokens: int | None = None
    counted_tokens: int = 0
    text: str | None = None
    finish_reason: str | None = None
    returned_model: str | None = None
    provider_request_id: str | None = None
    error: str | None = None


Entered: TypeAlias = tuple[OpenCall, Posting]
"""One side of a double entry, and the call it is about."""

CUT_SHORT: Final = CallResult(Bill(CallState.CANCELLED, billed=None), error="the solve ended first")
"""What becomes of a call that is still open when its solve ends: it may have happened."""

UNMADE: Final = CallResult(
    Bill(CallState.CANCELLED, billed=None, may_have_worked=False),
    error="the solve ended before it was made",
)
"""What becomes of an intent whose call was certainly not made: nobody can have charged for it."""

DIED: Final = CallResult(Bill(CallState.ORPHAN, billed=None), error="its process died first")
"""What becomes of a call whose process died before its outcome: it may have happened."""


@dataclass(frozen=True, slots=True)
class Closed:
    """An outcome as it is booked: whose call it was, what came of it, and who pays."""

    call: OpenCall
    result: CallResult
    split: Share

    @classmethod
    def of(cls, call: OpenCall, result: CallResult, *, room: NanoUSD) -> "Closed":
        """Split the call's charge; `room` is what its solve holds beside its calls in flight."""
        return cls(call, result, share(result.bill, max_cost=call.max_cost, room=room))

    def row(self) -> dict[str, object]:
        """What changes of the call's row."""
        result, split = self.result, self.split
        return {
            "call": self.call.id,
            "ended_as": result.bill.state,
            "paid": split.tenant,
            "guessed": result.bill.billed is None and bool(split.tenant or split.suspense),
            "answered_by": fitting(Call.returned_model, result.returned_model),
            "request_id": fitting(Call.provider_request_id, result.provider_request_id),
            "sent_tokens": result.input_tokens,
            "received_tokens": result.output_tokens,
            "finished": fitting(Call.finish_reason, result.finish_reason),
            "went_wrong": fitting(Call.error, result.error),
        }

    def entries(self) -> Sequence[Entered]:
        """Its double entries."""
        call = self.call
        return [
            (call, posting)
            for posting in postings(self.split, tenant_id=call.tenant_id, provider=call.provider)
        ]


async def begin(
    tx: WriteTx, intents: Sequence[tuple[SolveId, Intent]], *, windows: Sequence[str] = ()
) -> None:
    """Write intents; the id of one (solve, op, attempt) can be written only once.

    Their tokens count in these windows, or, where there are none, in those of their solves.
    """
    rows = [_intent_row(solve_id, intent) for solve_id, intent in intents]
    await tx.execute(_BEGIN, [row | {"limit_windows": list(windows) or None} for row in rows])


async def has_begun(tx: ReadTx, call_id: str, *, token: int) -> bool:
    """Whether the call's intent is on record and open, and its solve still held under `token`.

    Whoever took the solve over names its calls the same way: the id alone tells not whose it is.
    """
    begun = (
        select(Call.id)
        .join(Solve, Solve.id == Call.solve_id)
        .where(Call.id == call_id, Call.state == CallState.INTENT, Solve.token == token)
    )
    return await tx.scalar(begun) is not None


async def booked(tx: ReadTx, call: OpenCall, result: CallResult) -> Share | None:
    """What the tenant paid where this outcome is on record; None where another is, or none."""
    paid = select(Call.cost).where(Call.id == call.id, Call.state == result.bill.state)
    cost = await tx.scalar(paid)
    return None if cost is None else Share(cost)


async def end(tx: WriteTx, call: OpenCall, result: CallResult) -> Share | None:
    """Book the outcome of an intent: state, cost, entries, text. None if it was booked before."""
    closed = Closed.of(call, result, room=await _room(tx, call.solve_id))
    if await tx.scalar(_CLOSE_ONE, closed.row()) is None:
        return None
    split = closed.split
    await tx.execute(
        _CHARGE, {"solve": call.solve_id, "spent": split.tenant, "drawn": call.max_cost}
    )
    await _post_closed(tx, [closed])
    return split


async def close(tx: WriteTx, closed: Sequence[Closed]) -> None:
    """Book outcomes of calls that are locked and open; their solves are not touched."""
    if closed:
        await tx.execute(_CLOSE, [one.row() for one in closed])
        await _post_closed(tx, closed)


async def note(tx: WriteTx, told: Sequence[Told]) -> None:
    """Place answers in their search's log.

    Late by up to a call: an answer that a crash leaves without a score is evaluated again.
    """
    rows = [
        {
            "call": one.call_id,
            "seq": one.seq,
            "scored": one.score,
            "given_up": fitting(Call.abandoned, one.reason),
        }
        for one in told
    ]
    if rows:
        await tx.execute(_NOTE, rows)


async def open_calls(tx: WriteTx, solve_ids: Sequence[SolveId]) -> Sequence[OpenCall]:
    """The calls of these solves that have no outcome yet, locked."""
    found = await tx.execute(_OPEN_CALLS, {"solves": solve_ids})
    return [
        OpenCall(call_id, SolveId(solve), TenantId(tenant), op, provider, price, max_cost)
        for call_id, solve, tenant, op, provider, price, max_cost in found.all()
    ]


async def orphan_open(tx: WriteTx, solve_ids: Sequence[SolveId]) -> None:
    """Name the calls whose process died before their outcome: they may have happened."""
    orphans = await open_calls(tx, solve_ids)
    await close(tx, [Closed.of(call, DIED, room=NanoUSD(0)) for call in orphans])
    await tx.execute(_NONE_IN_FLIGHT, {"solves": solve_ids})


async def post(tx: WriteTx, entries: Sequence[Entered]) -> None:
    """Append double entries."""
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
        for call, posting in entries
    ]
    if rows:
        await tx.execute(_POST, rows)


def text_name(op: str) -> str:
    """The name under which the text of a call's answer is kept."""
    return f"call:{op}"


def fitting(column: InstrumentedAttribute[str | None], text: str | None) -> str | None:
    """What a provider says of its answer, cut to the column: no outcome is refused for it."""
    assert isinstance(column.type, String)
    return None if text is None else storable(text)[: column.type.length]


def _intent_row(solve_id: SolveId, intent: Intent) -> dict[str, object]:
    trial = intent.trial
    return {
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
        "max_tokens": intent.max_tokens,
        "ask": trial.ask if trial else None,
        "parent": trial.parent if trial else None,
        "asked_seq": trial.asked_seq if trial else None,
        "propensity": trial.propensity if trial else None,
        "widen": trial.widen if trial else None,
    }


async def _room(tx: WriteTx, solve_id: SolveId) -> NanoUSD:
    # Locked first, so that two outcomes cannot both spend the same room on their overruns; and the
    # solve before its call, as everybody does, or an outcome and the finish could deadlock.
    return NanoUSD((await tx.execute(_ROOM, {"solve": solve_id})).scalar_one())


async def _post_closed(tx: WriteTx, closed: Sequence[Closed]) -> None:
    await post(tx, [entry for one in closed for entry in one.entries()])
    texts = [
        (one.call.solve_id, {text_name(one.call.op): one.result.text})
        for one in closed
        if one.result.text is not None
    ]
    await keep_texts(tx, texts)
