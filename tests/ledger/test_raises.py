"""Raises of a limit for a while: they allow more at once, and nothing more once they have ended."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from app.accounts import Allowance, Scope, open_tenant, raise_budget, set_budget
from app.db.clock import Ago, Clock, now
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import uuid7
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.periods import Period
from app.ledger.refusals import BudgetExceeded
from app.ledger.tables import Budget, BudgetRaise, BudgetRule
from tests.backends import opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    call,
    end_earlier_period,
    ending,
    levels,
    nano,
    open_earlier_period,
    opening,
)
from tests.ledger.test_concurrency import two_processes


async def bounded(database: Database, limit: int) -> tuple[str, Account]:
    """A tenant by its name, with a limit a day; its key may spend plenty."""
    name = f"tenant-{uuid7().hex}"
    whole, wide = (Allowance(nano(most), Period.DAY) for most in (limit, 10**9))
    made = await open_tenant(database, name=name, policy="default", allowance=whole)
    await set_budget(database, tenant=name, scope=Scope.KEY, name=made.key_id, allowance=wide)
    return name, Account(made.tenant_id, made.key_id)


async def raised(
    database: Database,
    name: str,
    by: int,
    *,
    until: datetime | None = None,
    period: Period | None = None,
) -> None:
    """Raise the tenant's limit; for an hour if nothing else is said."""
    await raise_budget(
        database,
        tenant=name,
        scope=Scope.TENANT,
        name=None,
        period=period,
        by=nano(by),
        until=datetime.now(UTC) + timedelta(hours=1) if until is None else until,
        reason="a launch",
    )


async def raise_that_ended(database: Database, payer: Account, by: int) -> None:
    """The books as they are when a raise of the tenant's limit has just ended."""

    async def work(tx: WriteTx) -> None:
        rule = await tx.scalar(select(BudgetRule.id).where(BudgetRule.scope_id == payer.tenant_id))
        made = insert(BudgetRaise).values(
            id=f"rse_{uuid7().hex}", rule_id=rule, by_nano=by, reason="it was", made_at=Clock()
        )
        await tx.execute(made.values(until=Ago(1.0)))
        mine = update(Budget).where(Budget.rule_id == rule)
        await tx.execute(
            mine.values(lim=Budget.lim + by, raised=Budget.raised + by, raised_until=Ago(1.0))
        )

    await database.write(work)


async def limit(database: Database, payer: Account) -> int:
    """The tenant's limit, as it can be read."""
    found = await Ledger(database).budgets(payer)
    return next(one.limit for one in found if one.scope == "tenant")


async def test_raise_allows_more_at_once_and_raises_add_up(database: Database) -> None:
    """In a period that is open, and in one that is not yet."""
    ledger = Ledger(database)
    for opened_before in (True, False):
        name, payer = await bounded(database, 100)
        if opened_before:
            await ledger.hold(opening(payer, 0))
        await raised(database, name, 30)
        await raised(database, name, 20)
        assert await limit(database, payer) == 150
        await ledger.hold(opening(payer, 150))
        with pytest.raises(BudgetExceeded):
            await ledger.hold(opening(payer, 1))
    await assert_books_hold(database)


async def test_standing_limit_changes_beneath_a_raise(database: Database) -> None:
    """Which goes on."""
    name, payer = await bounded(database, 100)
    await Ledger(database).hold(opening(payer, 0))
    await raised(database, name, 30)
    lower = Allowance(nano(50), Period.DAY)
    await set_budget(database, tenant=name, scope=Scope.TENANT, name=None, allowance=lower)
    assert await limit(database, payer) == 80
    await assert_books_hold(database)


async def test_what_was_raised_is_not_held_again_once_it_has_ended(database: Database) -> None:
    """What was held by it stays; the limit falls as that is given back."""
    ledger = Ledger(database)
    _, payer = await bounded(database, 100)
    await ledger.hold(opening(payer, 0))
    await raise_that_ended(database, payer, 50)
    assert await limit(database, payer) == 100
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(payer, 101))
    assert refused.value.available == 100
    claims = [await ledger.hold(opening(payer, 50)) for _ in range(2)]
    await raise_that_ended(database, payer, 50)
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    await ledger.finish(claims[0], ending())
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 51))
    await ledger.hold(opening(payer, 50))
    await assert_books_hold(database)


async def test_more_than_the_standing_limit_comes_down_as_holds_drain(database: Database) -> None:
    """Like a limit that was lowered."""
    ledger = Ledger(database)
    name, payer = await bounded(database, 100)
    await raised(database, name, 50)
    claims = [await ledger.hold(opening(payer, 50)) for _ in range(3)]

    async def end_the_raise(tx: WriteTx) -> None:
        await tx.execute(update(Budget).values(raised_until=Ago(1.0)))

    await database.write(end_the_raise)
    await call(ledger, claims[0], answered(30), max_cost=50)
    for claim, left in zip(claims, (130, 80, 30), strict=True):
        await ledger.finish(claim, ending())
        assert (await levels(database, payer))[0] == (30, left - 30)
        async with database.read() as tx:
            lim = await tx.scalar(select(Budget.lim).order_by(Budget.id).limit(1))
        assert lim == max(100, left)
    await assert_books_hold(database)


async def test_growth_does_not_count_on_a_raise_that_has_ended(database: Database) -> None:
    """Though nobody has begun a solve since; on another that is live it does."""
    ledger = Ledger(database)
    name, payer = await bounded(database, 100)
    claim = await ledger.hold(opening(payer, 10))
    await raise_that_ended(database, payer, 50)
    with pytest.raises(BudgetExceeded) as refused:
        await call(ledger, claim, answered(1), max_cost=110, grow=100)
    assert (refused.value.scope, refused.value.available) == ("tenant", 90)
    await raised(database, name, 20)
    await raise_that_ended(database, payer, 50)
    with pytest.raises(BudgetExceeded):
        await call(ledger, claim, answered(1), op="t1", max_cost=121, grow=111)
    await raise_that_ended(database, payer, 50)
    await call(ledger, claim, answered(1), op="t2", max_cost=120, grow=110)
    await assert_books_hold(database)


async def test_raise_ends_by_the_databases_clock(database: Database) -> None:
    """Without anybody's doing."""
    name, payer = await bounded(database, 100)
    await Ledger(database).hold(opening(payer, 0))
    async with database.read() as tx:
        until = await now(tx) + timedelta(seconds=0.3)
    await raised(database, name, 50, until=until)
    while True:
        async with database.read() as tx:
            if await now(tx) > until:
                break
        await asyncio.sleep(0.02)
    assert await limit(database, payer) == 100
    with pytest.raises(BudgetExceeded):
        await Ledger(database).hold(opening(payer, 101))
    await Ledger(database).hold(opening(payer, 100))
    await assert_books_hold(database)


async def test_raise_is_of_each_period_while_it_lasts(database: Database) -> None:
    """A period that begins meanwhile has it, too."""
    ledger = Ledger(database)
    name, payer = await bounded(database, 100)
    await open_earlier_period(database, payer)
    await raised(database, name, 50)
    await ledger.hold(opening(payer, 150))
    await end_earlier_period(database)
    await ledger.hold(opening(payer, 150))
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    await assert_books_hold(database)


async def test_holds_at_the_end_of_a_raise_never_exceed_the_standing_limit(
    database_url: str,
) -> None:
    """Of 200 at once by two processes, each of which finds that it has ended."""
    async with opened(database_url) as watcher, two_processes(database_url) as both:
        _, payer = await bounded(watcher, 1_000)
        ledgers = [Ledger(database) for database in both]
        await ledgers[0].hold(opening(payer, 0))
        await raise_that_ended(watcher, payer, 500)
        held = await asyncio.gather(
            *(ledgers[n % 2].hold(opening(payer, 30)) for n in range(200)), return_exceptions=True
        )
        refused = [one for one in held if isinstance(one, BaseException)]
        assert {type(one) for one in refused} == {BudgetExceeded}
        assert 200 - len(refused) == 1_000 // 30
        assert await limit(watcher, payer) == 1_000
        await assert_books_hold(watcher)


async def test_raise_that_races_with_the_opening_of_a_period_is_in_it(database_url: str) -> None:
    """Whichever comes first."""
    async with opened(database_url) as one, opened(database_url) as other:
        for n in range(12):
            name, payer = await bounded(one, 100)
            both = [Ledger(one).hold(opening(payer, 5)), raised(other, name, 10)]
            await asyncio.gather(*(both if n % 2 else reversed(both)))
            await Ledger(one).hold(opening(payer, 105))
            with pytest.raises(BudgetExceeded):
                await Ledger(one).hold(opening(payer, 1))
        await assert_books_hold(one)


@pytest.mark.parametrize(
    ("by", "hours", "reason", "field"),
    [(0, 1, "a launch", "by-usd"), (5, -1, "a launch", "until"), (5, 1, " ", "reason")],
)
async def test_raise_that_says_nothing_is_refused(
    database: Database, by: int, hours: int, reason: str, field: str
) -> None:
    """And leaves nothing behind."""
    name, payer = await bounded(database, 100)
    with pytest.raises(InvalidRequest) as refused:
        await raise_budget(
            database,
            tenant=name,
            scope=Scope.TENANT,
            name=None,
            period=None,
            by=nano(by),
            until=datetime.now(UTC) + timedelta(hours=hours),
            reason=reason,
        )
    assert refused.value.field == field
    assert await limit(database, payer) == 100


async def test_of_several_limits_the_one_to_raise_is_named(database: Database) -> None:
    """And there must be one."""
    name, payer = await bounded(database, 100)
    monthly = Allowance(nano(120), Period.MONTH)
    await set_budget(database, tenant=name, scope=Scope.TENANT, name=None, allowance=monthly)
    for period in (None, Period.WEEK):
        with pytest.raises(InvalidRequest, match="day, month"):
            await raised(database, name, 10, period=period)
    await raised(database, name, 10, period=Period.DAY)
    await Ledger(database).hold(opening(payer, 110))
    await assert_books_hold(database)
