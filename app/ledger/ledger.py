"""Money and the journal: hold before work, intent before a call, fact after it, settle at the end.

Each method is one transaction, and none is open while a model thinks. Decisions need the claim's
token (a new intent, a score, the finish); facts do not: the outcome of a call is accepted from
anybody, once, because the money is already gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.db.texts import storable_document
from app.ids import SolveId, TenantId
from app.ledger import journal
from app.ledger.budgets import (
    Account,
    BudgetStatus,
    DoesNotFit,
    admitting,
    path,
    refusal,
    release,
    reserve,
    statuses,
)
from app.ledger.idempotency import IdempotencyKey, KeyTaken, earlier, remember
from app.ledger.journal import CallResult, Intent, OpenCall, Told
from app.ledger.postings import Share
from app.ledger.price import Price
from app.ledger.refusals import (
    AlreadyAsked,
    BudgetExceeded,
    ClaimLost,
    IdempotencyKeyReused,
)
from app.ledger.retention import erase_texts, keep_texts
from app.ledger.tables import PriceRow, Solve, SolveInput
from app.money import NanoUSD

# Written once and executed with the facts of each solve: to build a statement anew costs several
# times what it costs to run.
_OPEN: Final = insert(Solve).values(created_at=Clock())
_KEEP_INPUT: Final = insert(SolveInput)
_DRAW: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"), Solve.token == bindparam("claimed"))
    .where(Solve.state == "in_progress")
    .values(hold=Solve.hold + bindparam("more"), inflight=Solve.inflight + bindparam("drawn"))
    .returning(Solve.budgets)
)
_TO_END: Final = (
    select(Solve.hold, Solve.posted, Solve.budgets, Solve.completed_at)
    .where(Solve.id == bindparam("solve"), Solve.token == bindparam("claimed"))
    .with_for_update()
)
_END: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"))
    .values(
        state=bindparam("ended_as"),
        route=bindparam("by_route"),
        completed_at=Clock(),
        result=bindparam("document"),
        hold=Solve.posted,
        inflight=0,
    )
)


@dataclass(frozen=True, slots=True)
class Opening:
    """A solve about to start: who pays, the most it may ever cost, and what it holds at first.

    `first` is the call it starts with, where that is known: it is journalled with the hold.
    """

    solve_id: SolveId
    account: Account
    cap: NanoUSD
    first_hold: NanoUSD
    request: Mapping[str, Any]
    plan: Mapping[str, Any]
    owner: str
    first: Intent | None = None
    idempotency: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to decide for a solve, until somebody with a higher token takes it."""

    solve_id: SolveId
    account: Account
    token: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a solve ended. `texts` are kept apart from the `result`, and not at all if `erase`."""

    state: str
    route: str | None
    result: Mapping[str, Any]
    texts: Mapping[str, str]
    erase: bool = False


@dataclass(frozen=True, slots=True)
class Loose:
    """What a run has not yet written down when it ends: it goes with the finish.

    `told` is what a search was told of its answers; `outcome` is a call that has just ended;
    `unmade` is one that was journalled and never made.
    """

    told: Sequence[Told] = ()
    outcome: tuple[Intent, CallResult] | None = None
    unmade: Intent | None = None


NOTHING_LOOSE: Final = Loose()


class Overdrawn(Exception):
    """The hold has no room for a draw: another call's overrun took what it counted on."""


class Ledger:
    """The solve's account. Knows amounts, not models; nothing else writes these tables."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def register(self, price: Price) -> None:
        """Put a price on record before its first use; a version once written never changes."""

        async def work(tx: WriteTx) -> None:
            for unit, rate in price.units().items():
                row = upsert(PriceRow).values(
                    version=price.version,
                    unit=unit,
                    provider=price.provider,
                    model=price.model,
                    nano_per_million=rate,
                    valid_from=Clock(),
                )
                await tx.execute(row.on_conflict_do_nothing())

        await self._db.write(work)

    async def hold(self, opening: Opening) -> Claim:
        """Open the solve and hold its first amount on every budget, or refuse before any call.

        Raises BudgetExceeded, naming the level that did not fit; AlreadyAsked or
        IdempotencyKeyReused where the caller's key is known.
        """
        tenant_id = opening.account.tenant_id

        async def work(tx: WriteTx) -> None:
            budgets = await path(tx, opening.account)
            await tx.execute(
                _OPEN,
                {
                    "id": opening.solve_id,
                    "tenant_id": opening.account.tenant_id,
                    "project_id": opening.account.project_id,
                    "key_id": opening.account.key_id,
                    "state": "in_progress",
                    "token": 1,
                    "owner": opening.owner,
                    "budgets": budgets,
                    "cap": opening.cap,
                    "hold": opening.first_hold,
                    "inflight": 0 if opening.first is None else opening.first.max_cost,
                },
            )
            await tx.execute(
                _KEEP_INPUT,
                {
                    "solve_id": opening.solve_id,
                    "request": opening.request,
                    "plan": opening.plan,
                },
            )
            if opening.idempotency is not None:
                await remember(tx, tenant_id, opening.idempotency, opening.solve_id)
            if opening.first is not None:
                await journal.begin(tx, opening.solve_id, opening.first)
            await reserve(tx, budgets, opening.first_hold)

        try:
            await self._db.write(work)
        except DoesNotFit:
            async with self._db.read() as tx:
                levels = await statuses(tx, opening.account)
            raise refusal(opening.first_hold, levels) from None
        except KeyTaken:
            await self.refuse_repeat(tenant_id, opening.idempotency)
            raise
        return Claim(opening.solve_id, opening.account, token=1)

    async def refuse_repeat(self, tenant_id: TenantId, key: IdempotencyKey | None) -> None:
        """Raise AlreadyAsked or IdempotencyKeyReused if the key is bound to a solve."""
        if key is None:
            return
        async with self._db.read() as tx:
            before = await earlier(tx, tenant_id, key.key)
        if before is None:
            return
        if before.body_sha256 != key.body_sha256:
            raise IdempotencyKeyReused("this key came with another body before; use a new one")
        raise AlreadyAsked(before.solve_id)

    async def intend(
        self, claim: Claim, intent: Intent, *, grow: NanoUSD, told: Sequence[Told] = ()
    ) -> None:
        """Journal a call before it is made, and draw its worst case from the hold.

        `grow` first enlarges the hold by so much; `told` is what the search has been told since the
        last call. Raises BudgetExceeded when the growth or the draw does not fit, and ClaimLost
        when the claim is no longer the current one; the call must then not be made.
        """

        async def work(tx: WriteTx) -> None:
            budgets = await _draw(tx, claim, intent.max_cost, grow=grow)
            if budgets is None:
                raise ClaimLost(f"solve {claim.solve_id} is no longer run by this process")
            if grow:
                await reserve(tx, budgets, grow)
            await journal.note(tx, told)
            await journal.begin(tx, claim.solve_id, intent)

        try:
            await self._db.write(work)
        except DoesNotFit:
            async with self._db.read() as tx:
                levels = await admitting(tx, claim.solve_id)
            raise refusal(grow, levels) from None
        except Overdrawn:
            left = await self._left(claim)
            raise BudgetExceeded("request", intent.max_cost, NanoUSD(left + grow)) from None

    async def settle_call(self, claim: Claim, intent: Intent, result: CallResult) -> Share | None:
        """Book what a call cost, whoever reports it; None if it had been booked before."""

        async def work(tx: WriteTx) -> Share | None:
            return await journal.end(tx, _call_of(claim, intent), result)

        return await self._db.write(work)

    async def finish(self, claim: Claim, ending: Ending, *, loose: Loose = NOTHING_LOOSE) -> None:
        """End the solve once: no call stays open, what was spent is posted, the rest is freed.

        Raises ClaimLost when another process has taken over; a repeat is harmless.
        """

        async def work(tx: WriteTx) -> bool:
            if loose.outcome is not None:
                intent, result = loose.outcome
                await journal.end(tx, _call_of(claim, intent), result)
            ended = (
                await tx.execute(_TO_END, {"solve": claim.solve_id, "claimed": claim.token})
            ).one_or_none()
            if ended is None:
                return False
            hold, posted, budgets, completed_at = ended
            if completed_at is not None:
                return True
            await journal.note(tx, loose.told)
            if loose.unmade is not None:
                await journal.withdraw(tx, loose.unmade.call_id)
            await journal.cancel_open(tx, claim.solve_id, claim.account.tenant_id)
            await tx.execute(
                _END,
                {
                    "solve": claim.solve_id,
                    "ended_as": ending.state,
                    "by_route": ending.route,
                    "document": storable_document(ending.result),
                },
            )
            await release(tx, budgets, hold=hold, posted=posted)
            if ending.erase:
                await erase_texts(tx, claim.solve_id)
            else:
                await keep_texts(tx, claim.solve_id, ending.texts)
            return True

        # Told after the commit: an outcome is a fact, and kept whoever runs the solve by now.
        if not await self._db.write(work):
            raise ClaimLost(f"solve {claim.solve_id} is no longer run by this process")

    async def budgets(self, account: Account) -> Sequence[BudgetStatus]:
        """The current period of each budget that a hold of the account has to fit."""
        async with self._db.read() as tx:
            return await statuses(tx, account)

    async def _left(self, claim: Claim) -> NanoUSD:
        left = select(Solve.hold - Solve.posted - Solve.inflight).where(Solve.id == claim.solve_id)
        async with self._db.read() as tx:
            return NanoUSD(await tx.scalar(left) or 0)


async def _draw(
    tx: WriteTx, claim: Claim, max_cost: NanoUSD, *, grow: NanoUSD
) -> Sequence[str] | None:
    try:
        budgets: list[str] | None = await tx.scalar(
            _DRAW,
            {
                "solve": claim.solve_id,
                "claimed": claim.token,
                "more": grow,
                "drawn": max_cost,
            },
        )
    except IntegrityError as error:
        raise Overdrawn from error
    return budgets


def _call_of(claim: Claim, intent: Intent) -> OpenCall:
    return OpenCall(
        id=intent.call_id,
        solve_id=claim.solve_id,
        tenant_id=claim.account.tenant_id,
        op=intent.op,
        provider=intent.provider,
        price_version=intent.price_version,
        max_cost=intent.max_cost,
    )
