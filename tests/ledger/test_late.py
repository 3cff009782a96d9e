"""Outcomes that come after their call was closed: the operator bears them, once."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from app.db.engine import Database
from app.ledger.endings import Loose
from app.ledger.journal import CallResult, Intent
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.postings import Bill, CallState, Share
from app.ledger.records import Records
from app.ledger.refusals import ClaimLost
from app.ledger.tables import Call
from tests.backends import account, opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    balances,
    call_states,
    ending,
    failed,
    intent,
    levels,
    nano,
    opening,
    solve_row,
    unbilled,
)

OUTCOMES: Sequence[tuple[CallResult, int]] = [
    (answered(0), 0),
    (answered(30), 30),
    (answered(50), 50),
    (answered(500), 500),
    (CallResult(Bill(CallState.FAILED, nano(20)), error="cut"), 20),
    (failed(may_have_worked=False), 0),
]
"""What comes late of a call that may cost 50, and what it cost."""


async def cancelled(database: Database) -> tuple[Claim, Intent]:
    """A solve that ended before its call, which may cost 50."""
    claim, made = await begun(database)
    await Ledger(database).finish(claim, ending("cancelled"))
    return claim, made


async def orphaned(database: Database) -> tuple[Claim, Intent]:
    """A solve taken over from a process that seemed dead while its call was under way."""
    claim, made = await begun(database)
    await Leases(database, replica="replica-2").claim(most=1, running=[])
    return claim, made


async def begun(database: Database) -> tuple[Claim, Intent]:
    """A solve with a call in flight."""
    claim = await Ledger(database).hold(opening(await account(database), 100))
    made = intent(claim, max_cost=50)
    await Ledger(database).intend(claim, made, grow=nano(0))
    return claim, made


async def late_cost(database: Database, made: Intent) -> int | None:
    """What the journal remembers."""
    async with database.read() as tx:
        cost: int | None = await tx.scalar(select(Call.late_cost).where(Call.id == made.call_id))
        return cost


@pytest.mark.parametrize(("outcome", "cost"), OUTCOMES)
async def test_late_outcome_of_a_cancelled_call_is_the_operators_loss(
    database: Database, outcome: CallResult, cost: int
) -> None:
    """At its true cost, in place of the worst case; the tenant's bill is closed."""
    claim, made = await cancelled(database)
    before = await solve_row(database, claim), await levels(database, claim.account)
    split = await Ledger(database).settle_call(claim, made, outcome)
    assert split == Share(nano(0), platform_loss=nano(cost), late=True)
    assert await late_cost(database, made) == cost
    loss = {"platform_loss": cost} if cost else {}
    assert await balances(database, claim) == {"suspense": 0, "provider": -cost} | loss
    assert (await solve_row(database, claim), await levels(database, claim.account)) == before
    assert await call_states(database, claim) == {"gate.first": "cancelled"}
    await assert_books_hold(database)


async def test_late_outcome_of_an_orphan_is_the_operators_loss(database: Database) -> None:
    """While whoever took its solve over goes on with it."""
    claim, made = await orphaned(database)
    assert await balances(database, claim) == {"suspense": 50, "provider": -50}
    split = await Ledger(database).settle_call(claim, made, answered(30))
    assert split == Share(nano(0), platform_loss=nano(30), late=True)
    assert await balances(database, claim) == {
        "platform_loss": 30,
        "suspense": 0,
        "provider": -30,
    }
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")
    assert await call_states(database, claim) == {"gate.first": "orphan"}
    await assert_books_hold(database)


async def test_late_outcome_is_booked_once(database: Database) -> None:
    """A second one is told so and changes nothing, whatever it says."""
    ledger = Ledger(database)
    claim, made = await cancelled(database)
    await ledger.settle_call(claim, made, answered(30))
    booked = await balances(database, claim)
    for outcome, _ in OUTCOMES:
        assert await ledger.settle_call(claim, made, outcome) is None
    assert await balances(database, claim) == booked
    assert await late_cost(database, made) == 30
    await assert_books_hold(database)


async def test_of_late_outcomes_at_once_one_is_booked(database_url: str) -> None:
    """By whichever process comes first."""
    async with opened(database_url) as one, opened(database_url) as other:
        claim, made = await orphaned(one)
        ledgers = [Ledger((one, other)[n % 2]) for n in range(6)]
        splits = await asyncio.gather(
            *(ledger.settle_call(claim, made, answered(30)) for ledger in ledgers)
        )
        booked = Share(nano(0), platform_loss=nano(30), late=True)
        assert [split for split in splits if split is not None] == [booked]
        await assert_books_hold(one)


@pytest.mark.parametrize("outcome", [failed(may_have_worked=True), unbilled(20)])
async def test_late_outcome_that_names_no_cost_leaves_the_worst_case_in_suspense(
    database: Database, outcome: CallResult
) -> None:
    """What it cost is as unknown as before, and one that knows may still come."""
    ledger = Ledger(database)
    claim, made = await cancelled(database)
    assert await ledger.settle_call(claim, made, outcome) is None
    assert await balances(database, claim) == {"suspense": 50, "provider": -50}
    assert await ledger.settle_call(claim, made, answered(30)) is not None
    await assert_books_hold(database)


async def test_late_text_is_not_kept(database: Database) -> None:
    """Another attempt may have answered, or the solve's texts may have been erased."""
    claim, made = await cancelled(database)
    kept = await Records(database).texts(claim.solve_id)
    await Ledger(database).settle_call(claim, made, answered(30, "late"))
    assert await Records(database).texts(claim.solve_id) == kept


async def test_late_outcome_may_come_with_a_finish_that_is_refused(database: Database) -> None:
    """A process that was replaced ends nothing, and what it saw is a fact all the same."""
    claim, made = await orphaned(database)
    for _ in range(2):  # a repeat is harmless
        with pytest.raises(ClaimLost):
            await Ledger(database).finish(
                claim, ending(), loose=Loose(outcome=(made, answered(30)))
            )
    assert await late_cost(database, made) == 30
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")
    await assert_books_hold(database)


async def test_late_outcome_of_a_call_that_was_not_made_is_booked_too(database: Database) -> None:
    """Whoever called it certain was wrong: what a provider bills is owed."""
    ledger = Ledger(database)
    claim, made = await begun(database)
    await ledger.finish(claim, ending("cancelled"), loose=Loose(unmade=made))
    await ledger.settle_call(claim, made, answered(30))
    assert await balances(database, claim) == {"platform_loss": 30, "provider": -30}
    await assert_books_hold(database)
