"""Money and the journal: hold before work, intent before a call, fact after it, settle at the end.

Each method is one transaction, and none is open while a model thinks. Decisions need the claim's
token (a new intent, a score, the finish); facts do not: the outcome of a call is accepted from
anybody, once, because the money is already gone.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db.batch import Batches
from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.ids import SolveId, TenantId
from app.ledger import cancelling, journal, late
from app.ledger.budgets import (
    Account,
    BudgetStatus,
    DoesNotFit,
    admitting,
    refusal,
    reserve,
    statuses,
)
from app.ledger.endings import NOTHING_LOOSE, Ending, Finish, Loose, end_together
from app.ledger.idempotency import IdempotencyKey, KeyTaken, earlier
from app.ledger.journal import CallResult, Intent, Told
from app.ledger.openings import Claim, Opening, open_together
from app.ledger.postings import Share
from app.ledger.price import Price
from app.ledger.refusals import (
    AlreadyAsked,
    BudgetExceeded,
    CancelAsked,
    ClaimLost,
    IdempotencyKeyReused,
)
from app.ledger.tables import PriceRow, Solve
from app.money import NanoUSD

# Written once and executed with the facts of each solve: to build a statement anew costs several
# times what it costs to run.
_DRAW: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"), Solve.token == bindparam("claimed"))
    .where(Solve.state == cancelling.RUNNING)
    .values(hold=Solve.hold + bindparam("more"), inflight=Solve.inflight + bindparam("drawn"))
    .returning(Solve.budgets)
)


class Overdrawn(Exception):
    """The hold has no room for a draw: another call's overrun took what it counted on."""


class Ledger:
    """The solve's account. Knows amounts, not models; nothing else writes these tables."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._holds = Batches[TenantId, Opening, None](
            self._hold_together, apart=(DoesNotFit, KeyTaken)
        )
        self._ends = Batches[TenantId, Finish, bool](self._end_together)

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
        try:
            await self._holds.submit(tenant_id, opening)
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
        last call. Raises BudgetExceeded when the growth or the draw does not fit, CancelAsked when
        the solve is to end, and ClaimLost when the claim is no longer the current one; the call
        must then not be made.
        """

        async def work(tx: WriteTx) -> None:
            budgets = await _draw(tx, claim, intent.max_cost, grow=grow)
            if budgets is None and await cancelling.is_marked(
                tx, claim.solve_id, token=claim.token
            ):
                raise CancelAsked(f"solve {claim.solve_id} is to end")
            if budgets is None:
                raise ClaimLost(f"solve {claim.solve_id} is no longer run by this process")
            if grow:
                await reserve(tx, dict.fromkeys(budgets, grow))
            await journal.note(tx, told)
            await journal.begin(tx, [(claim.solve_id, intent)])

        try:
            await self._db.write(work)
        except DoesNotFit:
            async with self._db.read() as tx:
                levels = await admitting(tx, claim.solve_id)
            raise refusal(grow, levels) from None
        except Overdrawn:
            left = await self._left(claim)
            raise BudgetExceeded("request", intent.max_cost, NanoUSD(left + grow)) from None

    async def cancel(self, solve_id: SolveId) -> None:
        """Ask whoever runs the solve to end it; harmless where it has ended."""
        await self._db.write(partial(cancelling.mark, solve_id=solve_id))

    async def settle_call(self, claim: Claim, intent: Intent, result: CallResult) -> Share | None:
        """Book what a call cost, whoever reports it; None if it had been booked before.

        Of a call that was closed meanwhile the tenant pays nothing more.
        """
        call = claim.call_of(intent)

        async def work(tx: WriteTx) -> Share | None:
            split = await journal.end(tx, call, result)
            return await late.book(tx, call, result) if split is None else split

        return await self._db.write(work)

    async def finish(self, claim: Claim, ending: Ending, *, loose: Loose = NOTHING_LOOSE) -> None:
        """End the solve once: no call stays open, what was spent is posted, the rest is freed.

        Raises ClaimLost when another process has taken over; a repeat is harmless.
        """
        finish = Finish(claim, ending, loose)
        owned = await self._ends.submit(claim.account.tenant_id, finish)
        if not owned:
            raise ClaimLost(f"solve {claim.solve_id} is no longer run by this process")

    async def budgets(self, account: Account) -> Sequence[BudgetStatus]:
        """The current period of each budget that a hold of the account has to fit."""
        async with self._db.read() as tx:
            return await statuses(tx, account)

    async def _hold_together(self, openings: Sequence[Opening]) -> Sequence[None]:
        await self._db.write(partial(open_together, openings=openings))
        return [None] * len(openings)

    async def _end_together(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        return await self._db.write(partial(end_together, finishes=finishes))

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
