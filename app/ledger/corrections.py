"""Refunds and adjustments: what was charged is never changed, a credit is posted beside it, now.

A credit belongs to the period in which it is posted, whenever the charge was. It reopens no budget:
a budget bounds what is spent on models, and that is spent. Whoever wants a tenant to spend it again
raises a limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, bindparam, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Clock
from app.db.engine import Database, ReadTx, WriteTx
from app.db.texts import storable
from app.errors import InvalidRequest
from app.ids import SolveId, TenantId, uuid7
from app.ledger.postings import CallState, Posting, credit_postings, tenant_account
from app.ledger.tables import Call, Correction, Entry, Solve
from app.money import NanoUSD

REFUND: Final = "refund"
ADJUSTMENT: Final = "adjustment"
TEXT_MAX: Final = 200
"""Characters of a reference or a reason."""

_POST: Final = insert(Entry).values(posted_at=Clock())


@dataclass(frozen=True, slots=True)
class Credit:
    """What a tenant was given back, in nano-dollars; negative where it was charged more."""

    id: str
    kind: str
    solve_id: SolveId | None
    call_id: str | None
    amount: NanoUSD
    reference: str
    reason: str
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Why:
    """The caller's own name for what it does, once a tenant, and the reason that is kept with it.

    Raises InvalidRequest for what is neither.
    """

    reference: str
    reason: str

    def __post_init__(self) -> None:
        for name, said in (("reference", self.reference), ("reason", self.reason)):
            if not (said.strip() and said.isprintable() and len(said) <= TEXT_MAX):
                raise InvalidRequest(name, f"1 to {TEXT_MAX} printable characters")


@dataclass(frozen=True, slots=True)
class Refund:
    """What to give back of a solve: so much of one call, or all that is left of it or of them."""

    solve_id: SolveId
    call_id: str | None = None
    amount: NanoUSD | None = None

    def __post_init__(self) -> None:
        if self.amount is not None and self.call_id is None:
            raise InvalidRequest("call", "an amount is given back of one call: name it")
        if self.amount is not None and self.amount <= 0:
            raise InvalidRequest("amount", "give back more than nothing")


class Corrections:
    """Posts credits, each once, however often it is asked for."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def refund(self, refund: Refund, why: Why) -> Sequence[Credit]:
        """Give back what was charged; at most what each call cost, over all its refunds.

        Raises InvalidRequest for an unknown solve or call, an amount that is more than is left, and
        a reference that was used for something else.
        """

        async def work(tx: WriteTx) -> Sequence[Credit]:
            # The solve is locked first, so that two refunds cannot both spend what is left.
            query = select(Solve.tenant_id).where(Solve.id == refund.solve_id).with_for_update()
            found = await tx.scalar(query)
            if found is None:
                raise InvalidRequest("solve", f"there is no solve {refund.solve_id!r}")
            tenant_id = TenantId(found)
            if earlier := await _under(tx, tenant_id, why.reference):
                _check_same(refund, earlier)
                return earlier
            for call_id, amount in (await _due(tx, refund)).items():
                made = await _note(
                    tx, tenant_id, why, kind=REFUND, solve_id=refund.solve_id, call_id=call_id
                )
                assert made is not None, "nobody else corrects this solve"
                entries = credit_postings(REFUND, amount, tenant_id=tenant_id)
                await post(tx, made, entries, solve_id=refund.solve_id)
            return await _under(tx, tenant_id, why.reference)

        return await self._db.write(work)

    async def adjust(self, tenant_id: TenantId, credit: NanoUSD, why: Why) -> Credit:
        """Credit a tenant, or debit it where the credit is negative, for no call in particular.

        Raises InvalidRequest for nothing, and for a reference that was used for something else.
        """
        if credit == 0:
            raise InvalidRequest("amount", "adjust by more than nothing")

        async def work(tx: WriteTx) -> Credit:
            made = None
            if not await _under(tx, tenant_id, why.reference):
                made = await _note(tx, tenant_id, why, kind=ADJUSTMENT)
            if made is not None:
                entries = credit_postings(ADJUSTMENT, credit, tenant_id=tenant_id)
                await post(tx, made, entries, solve_id=None)
            found = await _under(tx, tenant_id, why.reference)
            if [(one.kind, one.amount) for one in found] != [(ADJUSTMENT, credit)]:
                raise _used_before()
            return found[0]

        return await self._db.write(work)


async def credits_of(tx: ReadTx, *, solve_id: SolveId) -> Sequence[Credit]:
    """What was given back of a solve, oldest first."""
    rows = await tx.execute(_CREDITS.where(Correction.solve_id == solve_id))
    return [_credit(row) for row in rows.all()]


async def credits_between(
    tx: ReadTx, tenant_id: TenantId, *, start: datetime, end: datetime
) -> Sequence[Credit]:
    """What a tenant was credited in [start, end), oldest first."""
    of_tenant = _CREDITS.where(Entry.account == tenant_account(tenant_id))
    rows = await tx.execute(of_tenant.where(Entry.posted_at >= start, Entry.posted_at < end))
    return [_credit(row) for row in rows.all()]


async def post(
    tx: WriteTx, correction_id: str, entries: Sequence[Posting], *, solve_id: SolveId | None
) -> None:
    """Append the double entries of a correction."""
    rows = [
        {
            "id": f"ent_{uuid7().hex}",
            "correction_id": correction_id,
            "solve_id": solve_id,
            "kind": posting.kind,
            "account": posting.account,
            "amount": posting.amount,
        }
        for posting in entries
    ]
    if rows:
        await tx.execute(_POST, rows)


_CREDITS: Final = (
    select(
        Correction.id,
        Correction.kind,
        Correction.solve_id,
        Correction.call_id,
        -Entry.amount,
        Correction.reference,
        Correction.reason,
        Entry.posted_at,
    )
    .join(Entry, and_(Entry.correction_id == Correction.id, Entry.account == Correction.account))
    .where(Correction.kind.in_((REFUND, ADJUSTMENT)))
    .order_by(Entry.posted_at, Correction.id)
)
_UNDER: Final = _CREDITS.where(
    Correction.account == bindparam("payer"), Correction.reference == bindparam("called")
)


async def _under(tx: ReadTx, tenant_id: TenantId, reference: str) -> Sequence[Credit]:
    """What was done for this tenant under the reference."""
    named = {"payer": tenant_account(tenant_id), "called": reference}
    return [_credit(row) for row in (await tx.execute(_UNDER, named)).all()]


def _credit(row: Row[*tuple[Any, ...]]) -> Credit:
    return Credit(*row)


async def _note(
    tx: WriteTx,
    tenant_id: TenantId,
    why: Why,
    *,
    kind: str,
    solve_id: SolveId | None = None,
    call_id: str | None = None,
) -> str | None:
    """Write down why; None where that was done before."""
    row = upsert(Correction).values(
        id=f"cor_{uuid7().hex}",
        kind=kind,
        account=tenant_account(tenant_id),
        reference=storable(why.reference),
        subject=call_id or "",
        solve_id=solve_id,
        call_id=call_id,
        reason=storable(why.reason),
        posted_at=Clock(),
    )
    made: str | None = await tx.scalar(row.on_conflict_do_nothing().returning(Correction.id))
    return made


async def _due(tx: ReadTx, refund: Refund) -> Mapping[str, NanoUSD]:
    """What to give back of each call. Raises InvalidRequest where there is not that much."""
    calls = select(Call.id, Call.cost, Call.state).where(Call.solve_id == refund.solve_id)
    if refund.call_id is not None:
        calls = calls.where(Call.id == refund.call_id)
    rows = (await tx.execute(calls.order_by(Call.started_at, Call.id))).all()
    if refund.call_id is not None and not rows:
        raise InvalidRequest("call", f"the solve has no call {refund.call_id!r}")
    if any(state == CallState.INTENT for _, _, state in rows):
        raise InvalidRequest("solve", "a call of it is still open: wait until it has ended")
    given = await _given(tx, refund.solve_id)
    left = {call: NanoUSD(cost - given.get(call, 0)) for call, cost, _ in rows}
    due = {call: amount for call, amount in left.items() if amount > 0}
    if refund.call_id is not None and refund.amount is not None:
        if refund.amount > left[refund.call_id]:
            raise InvalidRequest("amount", f"of that call {left[refund.call_id]} nano-USD are left")
        due = {refund.call_id: refund.amount}
    if not due:
        raise InvalidRequest("solve", "nothing of it is left to give back")
    return due


async def _given(tx: ReadTx, solve_id: SolveId) -> Mapping[str, int]:
    """What was given back of each call so far."""
    query = (
        select(Correction.call_id, func.sum(-Entry.amount))
        .join(
            Entry, and_(Entry.correction_id == Correction.id, Entry.account == Correction.account)
        )
        .where(Correction.solve_id == solve_id, Correction.kind == REFUND)
        .group_by(Correction.call_id)
    )
    rows = (await tx.execute(query)).all()
    return {call: int(amount) for call, amount in rows if call is not None}


def _check_same(refund: Refund, earlier: Sequence[Credit]) -> None:
    """A repeat asks for what was done; anything else needs a reference of its own."""
    same = all(one.kind == REFUND and one.solve_id == refund.solve_id for one in earlier)
    if refund.call_id is not None:
        same = same and [one.call_id for one in earlier] == [refund.call_id]
    if refund.amount is not None:
        same = same and earlier[0].amount == refund.amount
    if not same:
        raise _used_before()


def _used_before() -> InvalidRequest:
    return InvalidRequest("reference", "it was used for another correction of this tenant")
