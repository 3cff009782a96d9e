"""Two Database objects are two processes as far as the ledger can tell: neither shares a lock."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from app.accounts import Allowance, open_key
from app.db.engine import Database
from app.ledger.budgets import Account
from app.ledger.journal import Intent
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.periods import Period
from app.ledger.refusals import BudgetExceeded, ClaimLost
from app.tenants.tables import TenantRow
from tests.backends import SQLITE, account, opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    balances,
    call,
    call_states,
    ending,
    intent,
    levels,
    nano,
    opening,
    solve_row,
)

RIVALS = 6
"""How often a race is run: each time from a fresh start, and in either order."""


@asynccontextmanager
async def two_processes(database_url: str) -> AsyncGenerator[tuple[Database, Database]]:
    """Two that share nothing but the database, and never deadlock: each would cost a second."""
    before = await deadlocks(database_url)
    async with opened(database_url) as one, opened(database_url) as other:
        yield one, other
    assert await deadlocks(database_url) == before


async def deadlocks(database_url: str) -> int:
    """How many there ever were; SQLite has one lock."""
    if database_url.startswith(SQLITE):
        return 0
    async with opened(database_url) as database, database.read() as tx:
        counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(await tx.scalar(text(counted)) or 0)


async def sample(database: Database, payer: Account, samples: list[list[tuple[int, int]]]) -> None:
    """Look at the budgets until cancelled."""
    while True:
        samples.append(await levels(database, payer))
        await asyncio.sleep(0)


async def race(one: Awaitable[object], other: Awaitable[object], *, reverse: bool) -> list[object]:
    """Both at once; their results or refusals, in the order given."""
    pair = (other, one) if reverse else (one, other)
    results = await asyncio.gather(*pair, return_exceptions=True)
    for result in results:
        assert not isinstance(result, BaseException) or isinstance(
            result, ClaimLost | BudgetExceeded
        ), repr(result)
    return list(reversed(results)) if reverse else list(results)


async def in_flight(ledger: Ledger, payer: Account) -> tuple[Claim, Intent]:
    """A solve that holds 100, with a call that may cost 70."""
    claim = await ledger.hold(opening(payer, 100))
    made = intent(claim, max_cost=70)
    await ledger.intend(claim, made, grow=nano(0))
    return claim, made


@pytest.mark.parametrize("processes", [1, 2])
async def test_concurrent_holds_never_exceed_a_budget_and_fill_it(
    database_url: str, processes: int
) -> None:
    """Of 100 at once exactly as many as fit; never above the limit at any sample."""
    limit, hold = 1_000, 30
    async with opened(database_url) as watcher, two_processes(database_url) as both:
        payer = await account(watcher, limit=nano(limit), key_limit=nano(limit))
        ledgers = [Ledger(database) for database in both[:processes]]
        samples: list[list[tuple[int, int]]] = []
        watching = asyncio.create_task(sample(watcher, payer, samples))
        held = await asyncio.gather(
            *(ledgers[n % processes].hold(opening(payer, hold)) for n in range(100)),
            return_exceptions=True,
        )
        watching.cancel()
        refused = [one for one in held if isinstance(one, BaseException)]
        assert {type(one) for one in refused} == {BudgetExceeded}
        assert len(held) - len(refused) == limit // hold
        assert len(samples) > 3
        assert all(sum(level) <= limit for found in samples for level in found)
        assert await levels(watcher, payer) == [(0, limit // hold * hold)] * 2
        await assert_books_hold(watcher)


async def test_period_opened_by_two_processes_at_once_is_one_period(database_url: str) -> None:
    """Neither is refused, and neither's hold is lost."""
    async with two_processes(database_url) as (one, other):
        ledgers = Ledger(one), Ledger(other)
        for _ in range(RIVALS):
            payer = await account(one, limit=nano(100), period=Period.HOUR)
            await asyncio.gather(*(ledger.hold(opening(payer, 10)) for ledger in ledgers * 2))
            assert await levels(one, payer) == [(0, 40), (0, 40)]
        await assert_books_hold(one)


async def test_first_refusal_of_a_period_does_not_undo_anothers_opening(database_url: str) -> None:
    """One hold fits and one does not, both in a period that neither found open."""
    async with two_processes(database_url) as (one, other):
        for n in range(RIVALS):
            payer = await account(one, limit=nano(100), period=Period.DAY)
            held, refused = await race(
                Ledger(one).hold(opening(payer, 60)),
                Ledger(other).hold(opening(payer, 101)),
                reverse=n % 2 == 0,
            )
            assert isinstance(held, Claim)
            assert isinstance(refused, BudgetExceeded)
            assert await levels(one, payer) == [(0, 60), (0, 60)]
        await assert_books_hold(one)


async def test_hot_budgets_do_not_deadlock(database_url: str) -> None:
    """Whole solves by two keys of one tenant: all lock its levels in one order."""
    async with two_processes(database_url) as both:
        first = await account(both[0])
        async with both[0].read() as tx:
            name = await tx.scalar(select(TenantRow.name))
        assert name is not None
        made = await open_key(both[0], tenant=name, name="second", allowance=Allowance())
        payers = first, Account(made.tenant_id, made.key_id)

        async def solve(n: int) -> None:
            ledger = Ledger(both[n % 2])
            claim = await ledger.hold(opening(payers[n // 2 % 2], 10))
            await call(ledger, claim, answered(5), max_cost=20, grow=10)
            await ledger.finish(claim, ending())

        await asyncio.gather(*(solve(n) for n in range(40)))
        await assert_books_hold(both[0])


async def test_two_ends_at_once_post_once(database_url: str) -> None:
    """The second finds the solve ended."""
    async with two_processes(database_url) as (one, other):
        payer = await account(one)
        for n in range(1, RIVALS + 1):
            claim, made = await in_flight(Ledger(one), payer)
            await Ledger(one).settle_call(claim, made, answered(30))
            await race(
                Ledger(one).finish(claim, ending("completed")),
                Ledger(other).finish(claim, ending("failed")),
                reverse=n % 2 == 0,
            )
            assert await levels(one, payer) == [(30 * n, 0), (30 * n, 0)]
        await assert_books_hold(one)


async def test_outcome_that_races_with_the_end_is_charged_or_late(database_url: str) -> None:
    """To the tenant or the operator: never both, and never neither."""
    async with two_processes(database_url) as (one, other):
        payer = await account(one)
        for n in range(RIVALS):
            claim, made = await in_flight(Ledger(one), payer)
            billed = 30 if n % 4 < 2 else 90  # within its worst case, or an overrun
            await race(
                Ledger(one).finish(claim, ending()),
                Ledger(other).settle_call(claim, made, answered(billed)),
                reverse=n % 2 == 0,
            )
            booked = await balances(one, claim)
            assert booked in (
                {"tenant": billed, "provider": -billed},
                {"platform_loss": billed, "suspense": 0, "provider": -billed},
            )
        await assert_books_hold(one)


async def test_outcome_reported_twice_at_once_is_booked_once(database_url: str) -> None:
    """By whoever comes first; the other is told so."""
    async with two_processes(database_url) as (one, other):
        payer = await account(one)
        for n in range(RIVALS):
            claim, made = await in_flight(Ledger(one), payer)
            splits = await race(
                Ledger(one).settle_call(claim, made, answered(90)),
                Ledger(other).settle_call(claim, made, answered(20)),
                reverse=n % 2 == 0,
            )
            booked = [split for split in splits if split is not None]
            assert len(booked) == 1
        await assert_books_hold(one)


async def test_intent_that_races_with_the_end_is_cancelled_or_never_made(
    database_url: str,
) -> None:
    """No call is left open in a solve that has ended."""
    async with two_processes(database_url) as (one, other):
        payer = await account(one)
        for n in range(RIVALS):
            claim = await Ledger(one).hold(opening(payer, 100))
            _, made = await race(
                Ledger(one).finish(claim, ending()),
                Ledger(other).intend(claim, intent(claim, max_cost=120), grow=nano(20)),
                reverse=n % 2 == 0,
            )
            expected = {} if isinstance(made, ClaimLost) else {"gate.first": "cancelled"}
            assert await call_states(one, claim) == expected
            assert await levels(one, payer) == [(0, 0), (0, 0)]
        await assert_books_hold(one)


async def test_growths_at_once_fill_a_budget_and_no_more(database_url: str) -> None:
    """Each of ten solves wants another 20 of the 105 that are left."""
    async with two_processes(database_url) as both:
        ledgers = [Ledger(database) for database in both]
        payer = await account(both[0], limit=nano(205))
        claims = [await ledgers[0].hold(opening(payer, 10)) for _ in range(10)]
        grown = await asyncio.gather(
            *(
                ledgers[n % 2].intend(claim, intent(claim, max_cost=30), grow=nano(20))
                for n, claim in enumerate(claims)
            ),
            return_exceptions=True,
        )
        assert [type(one) for one in grown if one is not None] == [BudgetExceeded] * 5
        assert await levels(both[0], payer) == [(0, 200), (0, 200)]
        await assert_books_hold(both[0])


async def test_draws_at_once_never_exceed_the_hold(database_url: str) -> None:
    """Of ten calls that want 30 each, three fit into 100."""
    async with two_processes(database_url) as both:
        ledgers = [Ledger(database) for database in both]
        payer = await account(both[0])
        claim = await ledgers[0].hold(opening(payer, 100))
        drawn = await asyncio.gather(
            *(
                ledgers[n % 2].intend(claim, intent(claim, f"t{n}", max_cost=30), grow=nano(0))
                for n in range(10)
            ),
            return_exceptions=True,
        )
        assert [type(one) for one in drawn if one is not None] == [BudgetExceeded] * 7
        assert await solve_row(both[0], claim) == (100, 0, 90, "in_progress")
        await assert_books_hold(both[0])


@pytest.mark.parametrize("zombie", ["intend", "settle", "finish"])
async def test_takeover_that_races_with_a_zombie_keeps_the_books(
    database_url: str, zombie: str
) -> None:
    """Its decisions come before the takeover or are refused; its facts count once or never."""
    async with two_processes(database_url) as (one, other):
        payer = await account(one)
        leases = Leases(other, replica="replica-2")
        await leases.beat()
        for n in range(RIVALS):
            ledger = Ledger(one)
            claim, made = await in_flight(ledger, payer)
            match zombie:
                case "intend":
                    more = intent(claim, "t1", max_cost=30)
                    deed: Awaitable[object] = ledger.intend(claim, more, grow=nano(0))
                case "settle":
                    deed = ledger.settle_call(claim, made, answered(90))
                case _:
                    deed = ledger.finish(claim, ending("cancelled"))
            await race(leases.claim(most=5, running=[]), deed, reverse=n % 2 == 0)
            # A solve whose row the zombie had locked is left for the next round.
            await leases.claim(most=5, running=[claim.solve_id])
            if (await solve_row(one, claim))[3] == "in_progress":
                new = replace(claim, token=claim.token + 1)
                await Ledger(other).finish(new, ending("failed"))
            assert [reserved for _, reserved in await levels(one, payer)] == [0, 0]
        await assert_books_hold(one)
