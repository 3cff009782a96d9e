import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from app.accounts import Allowance, Scope, open_tenant, set_budget
from app.db.engine import Database, WriteTx
from app.ids import uuid7
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.periods import Period, bounds
from app.ledger.refusals import BudgetExceeded
from app.ledger.rules import set_rule
from app.ledger.tables import Budget, BudgetRule
from tests.backends import opened
from tests.ledger.books import answered, assert_books_hold, call, ending, levels, nano, opening


async def tenant(database: Database, limit: int) -> tuple[str, Account]:
    """A tenant by its name; its key may spend plenty."""
    name = f"tenant-{uuid7().hex}"
    made = await open_tenant(database, name=name, policy="default", allowance=daily(10**9))
    await set_limit(database, name, limit)
    return name, Account(made.tenant_id, made.key_id)


def daily(limit: int) -> Allowance:
    """So much a day."""
    return Allowance(nano(limit), Period.DAY)


async def set_limit(database: Database, name: str, limit: int) -> None:
    """Of the tenant."""
    await set_budget(database, tenant=name, scope=Scope.TENANT, name=None, allowance=daily(limit))


async def limits(database: Database, payer: Account) -> list[int]:
    """The limits of the tenant's rows, the tenant's own before its key's."""
    query = select(Budget.lim).where(Budget.tenant_id == payer.tenant_id).order_by(Budget.id)
    async with database.read() as tx:
        return [int(lim) for lim in (await tx.execute(query)).scalars().all()]


async def test_raised_limit_admits_more_at_once(database: Database) -> None:
    """In the period that is open."""
    ledger = Ledger(database)
    name, payer = await tenant(database, 100)
    await ledger.hold(opening(payer, 100))
    await set_limit(database, name, 150)
    await ledger.hold(opening(payer, 50))
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    await assert_books_hold(database)


async def test_lowered_limit_is_reached_as_holds_end(database: Database) -> None:
    """It never undoes what was held, and nothing that is given back can be held again."""
    ledger = Ledger(database)
    name, payer = await tenant(database, 100)
    claims = [await ledger.hold(opening(payer, 40)) for _ in range(2)]
    await call(ledger, claims[0], answered(30), max_cost=40)
    await set_limit(database, name, 50)
    assert (await limits(database, payer))[0] == 80
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    await ledger.finish(claims[0], ending())
    assert (await limits(database, payer))[0] == 70
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    await ledger.finish(claims[1], ending())
    assert (await limits(database, payer))[0] == 50
    await ledger.hold(opening(payer, 20))
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    assert (await levels(database, payer))[0] == (30, 20)
    await assert_books_hold(database)


async def test_limit_below_what_was_spent_admits_nothing_more(database: Database) -> None:
    """What was spent stays posted."""
    ledger = Ledger(database)
    name, payer = await tenant(database, 100)
    claim = await ledger.hold(opening(payer, 40))
    await call(ledger, claim, answered(30), max_cost=40)
    await ledger.finish(claim, ending())
    await set_limit(database, name, 0)
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(payer, 1))
    assert (refused.value.scope, refused.value.available) == ("tenant", 0)
    assert (await levels(database, payer))[0] == (30, 0)
    await assert_books_hold(database)


async def test_limit_lowered_while_a_period_opens_bounds_that_period(database_url: str) -> None:
    """Whichever comes first, no period is left with the limit of before."""
    async with opened(database_url) as one, opened(database_url) as other:
        for n in range(12):
            name, payer = await tenant(one, 100)
            both = [Ledger(one).hold(opening(payer, 5)), set_limit(other, name, 10)]
            await asyncio.gather(*(both if n % 2 else reversed(both)))
            assert (await limits(one, payer))[0] == 10
        await assert_books_hold(one)


async def test_limit_lowered_while_holds_race_is_never_exceeded_again(database_url: str) -> None:
    """Holds that came before it may stand above it; none comes after."""
    async with opened(database_url) as one, opened(database_url) as other:
        name, payer = await tenant(one, 1_000)
        await Ledger(one).hold(opening(payer, 10))
        await asyncio.gather(
            set_limit(other, name, 50),
            *(Ledger(one).hold(opening(payer, 30)) for _ in range(20)),
            return_exceptions=True,
        )
        with pytest.raises(BudgetExceeded):
            await Ledger(one).hold(opening(payer, 41))
        found = (await levels(one, payer))[0]
        assert (await limits(one, payer))[0] == max(50, sum(found))
        await assert_books_hold(one)


async def test_limit_raised_while_a_solve_ends_stays_raised(database_url: str) -> None:
    """The end waits for the row that is being raised, and must not undo that."""
    async with opened(database_url) as one, opened(database_url) as other:
        _, payer = await tenant(one, 100)
        claim = await Ledger(other).hold(opening(payer, 40))
        raised, ended = asyncio.Event(), asyncio.Event()

        async def raise_slowly(tx: WriteTx) -> None:
            await set_rule(
                tx,
                owner=payer.tenant_id,
                scope="tenant",
                scope_id=payer.tenant_id,
                period=Period.DAY,
                timezone="UTC",
                limit=nano(150),
            )
            raised.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.3)  # it cannot, and waits for the row

        async def end() -> None:
            await raised.wait()
            await Ledger(other).finish(claim, ending())
            ended.set()

        await asyncio.gather(one.write(raise_slowly), end())
        assert (await limits(one, payer))[0] == 150
        await Ledger(one).hold(opening(payer, 150))
        await assert_books_hold(one)


EVERY = (Period.HOUR, Period.DAY, Period.WEEK, Period.MONTH, Period.TOTAL)
KOLKATA = "Asia/Kolkata"
"""Half an hour off, so that no bound of a day there is one of a day in UTC."""


async def bounded(database: Database, limits: Mapping[Period, int]) -> tuple[str, Account]:
    """A tenant with a limit of its own for each kind of period; its key may spend plenty."""
    name = f"tenant-{uuid7().hex}"
    plenty = Allowance(nano(10**9), Period.TOTAL)
    made = await open_tenant(database, name=name, policy="default", allowance=plenty)
    for period, limit in limits.items():
        whole = Allowance(nano(limit), period, KOLKATA)
        await set_budget(database, tenant=name, scope=Scope.TENANT, name=None, allowance=whole)
    return name, Account(made.tenant_id, made.key_id)


@pytest.mark.parametrize("tightest", EVERY)
async def test_hold_must_fit_every_period_of_a_scope(database: Database, tightest: Period) -> None:
    """The tightest refuses, and says when it starts anew in its own calendar."""
    ledger = Ledger(database)
    _, payer = await bounded(database, dict.fromkeys(EVERY, 100) | {tightest: 50})
    claim = await ledger.hold(opening(payer, 40))
    await call(ledger, claim, answered(30), max_cost=40)
    await ledger.finish(claim, ending())
    before = datetime.now(UTC)
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(payer, 21))
    ends = {bounds(tightest, KOLKATA, at)[1] for at in (before, datetime.now(UTC))}
    assert (refused.value.scope, refused.value.available) == ("tenant", 20)
    assert refused.value.resets_at_s in (
        {None} if tightest is Period.TOTAL else {int(end.timestamp()) for end in ends}
    )
    await ledger.hold(opening(payer, 20))
    assert await levels(database, payer) == [(30, 20)] * (len(EVERY) + 1)
    await assert_books_hold(database)


async def test_each_period_is_shown_with_its_calendar(database: Database) -> None:
    """As they stand, used or not."""
    _, payer = await bounded(database, dict(zip(EVERY, (2, 3, 4, 5, 6), strict=True)))
    for _ in range(2):
        found = await Ledger(database).budgets(payer)
        shown = {(one.period, one.timezone, one.limit) for one in found if one.scope == "tenant"}
        assert shown == {
            (Period.HOUR, KOLKATA, 2),
            (Period.DAY, KOLKATA, 3),
            (Period.WEEK, KOLKATA, 4),
            (Period.MONTH, KOLKATA, 5),
            (Period.TOTAL, KOLKATA, 6),
        }
        await Ledger(database).hold(opening(payer, 1))


@pytest.mark.parametrize(
    "used_up", [(Period.HOUR, Period.DAY), (Period.WEEK, Period.MONTH), (Period.DAY, Period.TOTAL)]
)
async def test_of_periods_that_are_used_up_the_one_that_lasts_longest_refuses(
    database: Database, used_up: tuple[Period, Period]
) -> None:
    """Nobody is told to come back in an hour where the day has nothing left either."""
    _, payer = await bounded(database, dict.fromkeys(used_up, 0))
    levels_of = {one.period: one for one in await Ledger(database).budgets(payer)}
    longest = max((levels_of[period] for period in used_up), key=lambda one: one.period_end)
    with pytest.raises(BudgetExceeded) as refused:
        await Ledger(database).hold(opening(payer, 1))
    assert refused.value.resets_at_s == longest.resets_at_s


async def test_weeks_begin_on_monday_where_the_budget_is(database: Database) -> None:
    """At its midnight."""
    _, payer = await bounded(database, {Period.WEEK: 100})
    await Ledger(database).hold(opening(payer, 1))
    query = select(Budget.period_start).join(BudgetRule, BudgetRule.id == Budget.rule_id)
    async with database.read() as tx:
        start = await tx.scalar(query.where(BudgetRule.period == Period.WEEK))
    assert start is not None
    local = start.astimezone(ZoneInfo(KOLKATA))
    assert (local.weekday(), local.hour, local.minute) == (0, 0, 0)
