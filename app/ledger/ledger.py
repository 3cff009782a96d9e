"""Money and the journal: hold before work, intent before a call, fact after it, settle at the end.

Each method is one transaction, and none is open while a model thinks. Decisions need the claim's
token (a new intent, a score, the finish); facts do not: the outcome of a call is accepted from
anybody, once, because the money is already gone.

While the database is away no solve begins. One that runs waits for it, for what its calls in flight
come to must not be lost.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db.batch import Batches
from app.db.clock import Clock, now
from app.db.engine import Database, WriteTx, once_back
from app.ids import BatchId, SolveId, TenantId
from app.ledger import cancelling, journal, late, limits, raises
from app.ledger.budgets import (
    Account,
    DoesNotFit,
    RaiseEnded,
    outdated,
    reserve,
    whose,
)
from app.ledger.endings import NOTHING_LOOSE, Ending, Finish, Loose, end_together
from app.ledger.idempotency import IdempotencyKey, KeyTaken, earlier
from app.ledger.journal import CallResult, Intent, Told
from app.ledger.levels import BudgetStatus, admitting, refusal, statuses
from app.ledger.limits import OverLimit
from app.ledger.openings import (
    Claim,
    Opened,
    Opening,
    SolveExists,
    open_together,
    write_down,
)
from app.ledger.postings import Share
from app.ledger.price import Price
from app.ledger.quotas import Quota, Unit
from app.ledger.refusals import (
    AlreadyAsked,
    BudgetExceeded,
    CancelAsked,
    ClaimLost,
    IdempotencyKeyReused,
    LadderReached,
    RateLimited,
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
    .returning(Solve.budgets, Solve.limits)
)


class Overdrawn(Exception):
    """The hold has no room for a draw: another call's overrun took what it counted on."""


class Ledger:
    """The solve's account. Knows amounts, not models; nothing else writes these tables."""

    def __init__(self, database: Database) -> None:
        self._db = database
        # Lines of a batch try whether they fit, and may often not: apart from who waits.
        self._holds = Batches[tuple[TenantId, BatchId | None], Opening, tuple[Quota, ...]](
            self._hold_together,
            apart=(DoesNotFit, OverLimit, LadderReached, KeyTaken, SolveExists),
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

        Raises BudgetExceeded, naming the level that did not fit; LadderReached where only a single
        call is begun; RateLimited where a count is reached; AlreadyAsked or IdempotencyKeyReused
        where the caller's key, or the solve's id, is known.
        """
        tenant_id = opening.account.tenant_id
        try:
            quotas = await self._holds.submit((tenant_id, opening.account.batch_id), opening)
        except DoesNotFit:
            async with self._db.read() as tx:
                levels = await statuses(tx, opening.account)
            raise refusal(opening.first_hold, levels) from None
        except SolveExists:
            raise AlreadyAsked(opening.solve_id) from None
        except OverLimit:
            async with self._db.read() as tx:
                found = await limits.quotas(tx, whose(opening.account))
                raise _limited(found, tokens=opening.tokens_max, at=await now(tx)) from None
        except KeyTaken:
            await self.refuse_repeat(tenant_id, opening.idempotency)
            # Given back meanwhile, for the solve that it named was cancelled.
            return await self.hold(opening)
        return Claim(opening.solve_id, opening.account, token=1, quotas=quotas)

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
        last call. Raises BudgetExceeded when the growth or the draw does not fit, RateLimited when
        no tokens are left for it, CancelAsked when the solve is to end, and ClaimLost when the
        claim is no longer the current one; the call must then not be made.
        """

        async def work(tx: WriteTx, *, again: bool) -> None:
            if again and await journal.has_begun(tx, intent.call_id, token=claim.token):
                return
            drawn = await _draw(tx, claim, intent.max_cost, grow=grow)
            if drawn is None and await cancelling.is_marked(tx, claim.solve_id, token=claim.token):
                raise CancelAsked(f"solve {claim.solve_id} is to end")
            if drawn is None:
                raise ClaimLost(f"solve {claim.solve_id} is no longer run by this process")
            budgets, limited = drawn
            # Opened before budgets are locked, as by whoever opens a solve: see open_together.
            windows = await limits.present(tx, limited[Unit.TOKENS]) if limited else ()
            if grow:
                await reserve(tx, dict.fromkeys(budgets, grow))
            if windows:
                await limits.take(tx, dict.fromkeys(windows, intent.max_tokens))
            await journal.note(tx, told)
            await journal.begin(tx, [(claim.solve_id, intent)], windows=windows)

        try:
            await once_back(lambda again: self._write_grown(claim, partial(work, again=again)))
        except DoesNotFit:
            async with self._db.read() as tx:
                levels = await admitting(tx, claim.solve_id)
            raise refusal(grow, levels) from None
        except OverLimit:
            async with self._db.read() as tx:
                windows = await tx.scalar(select(Solve.limits).where(Solve.id == claim.solve_id))
                assert windows is not None, "it counts in one"
                found = await limits.quotas_after(tx, windows[Unit.TOKENS])
                raise _limited(found, tokens=intent.max_tokens, at=await now(tx)) from None
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

        async def work(tx: WriteTx, *, again: bool) -> Share | None:
            split = await journal.end(tx, call, result)
            if split is None and again:
                split = await journal.booked(tx, call, result)
            return await late.book(tx, call, result) if split is None else split

        return await once_back(lambda again: self._db.write(partial(work, again=again)))

    async def finish(self, claim: Claim, ending: Ending, *, loose: Loose = NOTHING_LOOSE) -> None:
        """End the solve once: no call stays open, what was spent is posted, the rest is freed.

        Raises ClaimLost when another process has taken over; a repeat is harmless.
        """
        finish = Finish(claim, ending, loose)
        tenant_id = claim.account.tenant_id
        owned = await once_back(lambda _again: self._ends.submit(tenant_id, finish))
        if not owned:
            raise ClaimLost(f"solve {claim.solve_id} is no longer run by this process")

    async def record(self, opening: Opening, ending: Ending) -> None:
        """Open a solve that made no call, and end it at once; there is nothing to hold or charge.

        So no budget and no limit has a say in it, nor counts it.

        Raises AlreadyAsked or IdempotencyKeyReused where the caller's key is known.
        """
        finish = Finish(Claim(opening.solve_id, opening.account, token=1), ending)

        async def work(tx: WriteTx) -> None:
            await write_down(tx, [Opened(opening)])
            await end_together(tx, [finish])

        try:
            await self._db.write(work)
        except KeyTaken:
            await self.refuse_repeat(opening.account.tenant_id, opening.idempotency)
            raise

    async def budgets(self, account: Account) -> Sequence[BudgetStatus]:
        """The current period of each budget that a hold of the account has to fit."""
        async with self._db.read() as tx:
            return await statuses(tx, account)

    async def limits(self, account: Account) -> Sequence[Quota]:
        """What the account may count up to, and what is left of it."""
        async with self._db.glance() as tx:
            return await limits.quotas(tx, whose(account))

    async def _hold_together(self, openings: Sequence[Opening]) -> Sequence[tuple[Quota, ...]]:
        while True:
            try:
                return await self._db.write(partial(open_together, openings=openings))
            except RaiseEnded as found:  # each ends once
                await self._renew(found.rules)

    async def _write_grown(self, claim: Claim, work: Callable[[WriteTx], Awaitable[None]]) -> None:
        try:
            await self._db.write(work)
        except DoesNotFit:
            # Where a raise has ended, a growth counts on the standing limit alone; another raise
            # may be live.
            async with self._db.read() as tx:
                rules = await outdated(tx, claim.solve_id)
            if not rules:
                raise
            await self._renew(rules)
            await self._db.write(work)

    async def _renew(self, rules: Collection[str]) -> None:
        for rule in sorted(rules):
            await self._db.write(partial(raises.renew, rule_id=rule))

    async def _end_together(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        return await self._db.write(partial(end_together, finishes=finishes))

    async def _left(self, claim: Claim) -> NanoUSD:
        left = select(Solve.hold - Solve.posted - Solve.inflight).where(Solve.id == claim.solve_id)
        async with self._db.read() as tx:
            return NanoUSD(await tx.scalar(left) or 0)


async def _draw(
    tx: WriteTx, claim: Claim, max_cost: NanoUSD, *, grow: NanoUSD
) -> tuple[Sequence[str], Mapping[str, Sequence[str]] | None] | None:
    try:
        drawn = await tx.execute(
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
    row = drawn.one_or_none()
    return None if row is None else (row[0], row[1])


def _limited(found: Sequence[Quota], *, tokens: int, at: datetime) -> RateLimited:
    """The refusal by the limit that has no room; of several by the one that lasts longest."""
    asked = {Unit.TOKENS: tokens}
    full = [quota for quota in found if quota.left < asked.get(quota.unit, 1)] or found
    longest = max(full, key=lambda quota: (quota.ends_at_s or 0, -quota.left))
    return RateLimited(longest, asked=asked.get(longest.unit, 1), at_s=at.timestamp())
