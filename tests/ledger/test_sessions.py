"""Sessions: solves that name the same one share its cap, however many run at once."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from app.accounts import Allowance, Scope, open_tenant, set_budget
from app.db.engine import Database
from app.ids import uuid7
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.periods import Period
from app.ledger.refusals import BudgetExceeded
from app.ledger.tables import Budget
from tests.backends import opened
from tests.ledger.books import answered, assert_books_hold, call, ending, levels, nano, opening
from tests.ledger.test_concurrency import two_processes

WIDE = Allowance(nano(10**9), Period.TOTAL)


async def capped(database: Database, cap: int) -> tuple[str, Account]:
    """A tenant, of which each session may spend `cap`; it names none yet."""
    name = f"tenant-{uuid7().hex}"
    made = await open_tenant(database, name=name, policy="default", allowance=WIDE)
    await cap_sessions(database, name, cap)
    return name, Account(made.tenant_id, made.key_id)


async def cap_sessions(database: Database, name: str, cap: int) -> None:
    """Set what each session of the tenant may spend."""
    each = Allowance(nano(cap), Period.TOTAL)
    await set_budget(database, tenant=name, scope=Scope.SESSION, name=None, allowance=each)


def within(account: Account, session: str) -> Account:
    """The account in a session."""
    return replace(account, session=session)


async def sessions(database: Database) -> dict[str, tuple[int, int]]:
    """(posted, reserved) of each session that has a row."""
    query = select(Budget.session, Budget.posted, Budget.reserved).where(Budget.session != "")
    async with database.read() as tx:
        return {row[0]: (row[1], row[2]) for row in (await tx.execute(query)).all()}


async def test_solves_of_a_session_share_its_cap(database: Database) -> None:
    """Each other session has one of its own, and so has the same name at another tenant."""
    ledger = Ledger(database)
    _, payer = await capped(database, 100)
    _, stranger = await capped(database, 100)
    claim = await ledger.hold(opening(within(payer, "a"), 60))
    await call(ledger, claim, answered(40), max_cost=50)
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(within(payer, "a"), 41))
    assert (refused.value.scope, refused.value.available) == ("session", 40)
    assert refused.value.resets_at_s is None
    await ledger.finish(claim, ending())
    for account, amount in (
        (within(payer, "a"), 60),
        (within(payer, "b"), 100),
        (within(stranger, "a"), 100),
        (payer, 500),
    ):
        await ledger.hold(opening(account, amount))
    shown = {one.scope: one for one in await ledger.budgets(within(payer, "b"))}
    assert (shown["session"].limit, shown["session"].available) == (100, 0)
    await assert_books_hold(database)


async def test_growth_beyond_the_sessions_cap_is_refused(database: Database) -> None:
    """A hold grows in the session that admitted it."""
    ledger = Ledger(database)
    _, payer = await capped(database, 100)
    claim = await ledger.hold(opening(within(payer, "a"), 60))
    with pytest.raises(BudgetExceeded) as refused:
        await call(ledger, claim, answered(1), max_cost=101, grow=41)
    assert refused.value.scope == "session"
    await call(ledger, claim, answered(1), max_cost=100, grow=40)
    await assert_books_hold(database)


async def test_sessions_without_a_rule_cost_nothing(database: Database) -> None:
    """The name is kept with the solve, and bounds nothing."""
    name = f"tenant-{uuid7().hex}"
    made = await open_tenant(database, name=name, policy="default", allowance=WIDE)
    payer = Account(made.tenant_id, made.key_id, session="a")
    await Ledger(database).hold(opening(payer, 10))
    assert await levels(database, payer) == [(0, 10), (0, 10)]
    await assert_books_hold(database)


async def test_lowered_cap_bounds_every_session_that_there_is(database: Database) -> None:
    """One that holds more comes down as that is given back."""
    ledger = Ledger(database)
    name, payer = await capped(database, 100)
    claims = [await ledger.hold(opening(within(payer, session), 80)) for session in ("a", "b")]
    await cap_sessions(database, name, 50)
    for claim in claims:
        await ledger.finish(claim, ending())
    for session in ("a", "b", "c"):
        with pytest.raises(BudgetExceeded):
            await ledger.hold(opening(within(payer, session), 51))
        await ledger.hold(opening(within(payer, session), 50))
    await assert_books_hold(database)


async def test_concurrent_holds_never_exceed_a_session(database_url: str) -> None:
    """Of 200 at once in three new sessions, by two processes, as many as fit into each."""
    cap, hold = 600, 40
    async with opened(database_url) as watcher, two_processes(database_url) as both:
        _, payer = await capped(watcher, cap)
        ledgers = [Ledger(database) for database in both]
        names = ("a", "b", "c")
        samples: list[dict[str, tuple[int, int]]] = []

        async def watch() -> None:
            while True:
                samples.append(await sessions(watcher))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        held = await asyncio.gather(
            *(
                ledgers[n % 2].hold(opening(within(payer, names[n // 2 % 3]), hold))
                for n in range(200)
            ),
            return_exceptions=True,
        )
        watching.cancel()
        refused = [one for one in held if isinstance(one, BaseException)]
        assert {type(one) for one in refused} == {BudgetExceeded}
        assert 200 - len(refused) == 3 * (cap // hold)
        assert len(samples) > 3
        assert all(sum(level) <= cap for sample in samples for level in sample.values())
        assert await sessions(watcher) == dict.fromkeys(names, (0, cap // hold * hold))
        await assert_books_hold(watcher)
