import time

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from app.accounts import Allowance, open_key, open_project, open_tenant
from app.db.engine import Database
from app.ids import KeyId, TenantId, uuid7
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.periods import Period
from app.ledger.refusals import AlreadyAsked, BudgetExceeded
from app.ledger.tables import Budget, Solve, SolveInput
from app.tenants.directory import Directory
from tests.backends import account
from tests.ledger.books import (
    assert_books_hold,
    end_earlier_period,
    ending,
    levels,
    nano,
    open_earlier_period,
    opening,
    solve_row,
)

DAY_S = 86_400


async def rows(database: Database, table: type[Budget | Solve | SolveInput]) -> int:
    """How many rows there are."""
    async with database.read() as tx:
        return int(await tx.scalar(select(func.count()).select_from(table)) or 0)


async def test_hold_is_reserved_on_every_level(database: Database) -> None:
    """The tenant's and the key's."""
    payer = await account(database, limit=nano(1000), key_limit=nano(500))
    claim = await Ledger(database).hold(opening(payer, 300))
    assert claim.token == 1
    assert await levels(database, payer) == [(0, 300), (0, 300)]
    assert await solve_row(database, claim) == (300, 0, 0, "in_progress")
    await assert_books_hold(database)


@pytest.mark.parametrize(
    ("limit", "key_limit", "scope", "available"),
    [(100, 1000, "tenant", 60), (1000, 100, "key", 60), (100, 100, "tenant", 60)],
)
async def test_refusal_names_the_tightest_level(
    database: Database, limit: int, key_limit: int, scope: str, available: int
) -> None:
    """What it has left, what was asked, and never when it starts anew if it never does."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(limit), key_limit=nano(key_limit))
    await ledger.hold(opening(payer, 40))
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(payer, 61))
    refusal = refused.value
    assert (refusal.scope, refusal.asked, refusal.available) == (scope, 61, available)
    assert refusal.resets_at_s is None


async def test_refusal_in_a_period_not_yet_opened_names_its_limit(database: Database) -> None:
    """The first request of a day is told what the day allows, not that nothing is left."""
    payer = await account(database, limit=nano(100), key_limit=nano(40), period=Period.DAY)
    with pytest.raises(BudgetExceeded) as refused:
        await Ledger(database).hold(opening(payer, 50))
    assert (refused.value.scope, refused.value.available) == ("key", 40)
    resets_at_s = refused.value.resets_at_s
    assert resets_at_s is not None
    assert resets_at_s % DAY_S == 0
    assert 0 < resets_at_s - time.time() <= DAY_S + 1


async def test_refusal_sees_the_levels_that_are_open_beside_those_that_are_not(
    database: Database,
) -> None:
    """A tenant that is open and has room does not hide its new key's limit."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100), key_limit=nano(40), period=Period.DAY)
    tenants = Account(payer.tenant_id, KeyId("key-without-a-budget"))
    await ledger.hold(opening(tenants, 10))
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(payer, 50))
    assert (refused.value.scope, refused.value.available) == ("key", 40)


async def test_project_is_a_level_between_the_tenant_and_its_keys(database: Database) -> None:
    """All keys of it share what it may spend; a key outside it does not."""
    ledger = Ledger(database)
    name, wide = f"tenant-{uuid7().hex}", Allowance(nano(100), Period.TOTAL)
    await open_tenant(database, name=name, policy="default", allowance=wide)
    narrow = Allowance(nano(50), Period.TOTAL)
    await open_project(database, tenant=name, name="app", allowance=narrow)
    payers: list[Account] = []
    for project in ("app", "app", None):
        made = await open_key(database, tenant=name, name="k", allowance=wide, project=project)
        found = await Directory(database).authenticate(made.key)
        payers.append(Account(found.id, found.key_id, found.project_id))
    first, second, outside = payers
    assert [level.scope for level in await ledger.budgets(first)] == ["tenant", "project", "key"]
    await ledger.hold(opening(first, 40))
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(second, 11))
    assert (refused.value.scope, refused.value.available) == ("project", 10)
    await ledger.hold(opening(outside, 60))
    await assert_books_hold(database)


async def test_refused_hold_leaves_nothing_behind(database: Database) -> None:
    """No solve, no input, no amount on the levels that had room, no period opened for it."""
    payer = await account(database, limit=nano(1000), key_limit=nano(40))
    with pytest.raises(BudgetExceeded):
        await Ledger(database).hold(opening(payer, 41))
    assert await levels(database, payer) == []
    assert await rows(database, Solve) == 0
    assert await rows(database, SolveInput) == 0
    await assert_books_hold(database)


async def test_limit_can_be_held_to_the_last_nano_dollar(database: Database) -> None:
    """And not beyond."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100))
    await ledger.hold(opening(payer, 100))
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    assert await levels(database, payer) == [(0, 100), (0, 100)]


async def test_budget_of_nothing_admits_what_is_free(database: Database) -> None:
    """And refuses the smallest amount."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(0))
    claim = await ledger.hold(opening(payer, 0))
    await ledger.finish(claim, ending())
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 1))
    await assert_books_hold(database)


async def test_account_without_a_budget_may_spend_nothing(database: Database) -> None:
    """It is told what it asked for."""
    nobody = Account(TenantId("tnt-of-nobody"), KeyId("key-of-nobody"))
    with pytest.raises(BudgetExceeded) as refused:
        await Ledger(database).hold(opening(nobody, 70))
    assert (refused.value.asked, refused.value.available) == (70, 0)


async def test_solve_is_opened_once(database: Database) -> None:
    """A second opening under its id holds nothing."""
    ledger = Ledger(database)
    payer = await account(database)
    first = opening(payer, 100)
    await ledger.hold(first)
    with pytest.raises(AlreadyAsked, match=first.solve_id):
        await ledger.hold(first)
    assert await levels(database, payer) == [(0, 100), (0, 100)]
    await assert_books_hold(database)


@pytest.mark.parametrize(("hold", "cap"), [(-1, 100), (101, 100)])
async def test_hold_outside_zero_and_the_cap_is_never_kept(
    database: Database, hold: int, cap: int
) -> None:
    """The database itself refuses what no caller should ask."""
    payer = await account(database)
    with pytest.raises(IntegrityError):
        await Ledger(database).hold(opening(payer, hold, cap=cap))
    assert await rows(database, Solve) == 0
    assert await levels(database, payer) == []


async def test_new_period_is_a_new_row_and_an_old_hold_ends_in_its_own(database: Database) -> None:
    """What was admitted before midnight is posted before midnight."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100), period=Period.DAY)
    await open_earlier_period(database, payer)
    before = await ledger.hold(opening(payer, 70))
    await end_earlier_period(database)
    after = await ledger.hold(opening(payer, 80))
    assert sorted(await levels(database, payer)) == [(0, 70), (0, 70), (0, 80), (0, 80)]
    await ledger.finish(before, ending())
    assert sorted(await levels(database, payer)) == [(0, 0), (0, 0), (0, 80), (0, 80)]
    await assert_books_hold(database)
    await ledger.finish(after, ending())
    await assert_books_hold(database)


async def test_budgets_are_shown_widest_first_whether_opened_or_not(database: Database) -> None:
    """With what each still allows."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100), key_limit=nano(40), period=Period.DAY)
    unopened = await ledger.budgets(payer)
    assert [(level.scope, level.available) for level in unopened] == [("tenant", 100), ("key", 40)]
    await ledger.hold(opening(payer, 30))
    opened = await ledger.budgets(payer)
    assert [(level.scope, level.available) for level in opened] == [("tenant", 70), ("key", 10)]
    assert [level.period_end for level in opened] == [level.period_end for level in unopened]
