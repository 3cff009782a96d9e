"""Requests and tokens a minute, and solves at once: never above their limit, whoever counts."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import delete, func, insert, select, update

from app.accounts import Allowance, Scope, open_tenant, set_limits
from app.db.clock import Ago, Clock
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import solve_id, uuid7
from app.ledger.budgets import Account
from app.ledger.endings import Loose
from app.ledger.journal import CallResult, Intent
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim, Opening
from app.ledger.periods import Period
from app.ledger.postings import Bill, CallState
from app.ledger.quotas import Unit
from app.ledger.refusals import BudgetExceeded, RateLimited
from app.ledger.tables import LimitRule, LimitWindow
from tests.backends import opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    ending,
    failed,
    intent,
    nano,
    opening,
)
from tests.ledger.test_concurrency import two_processes

WIDE = Allowance(nano(10**9), Period.TOTAL)


async def limited(database: Database, **most: int) -> tuple[str, Account]:
    """A tenant with limits by the names of units; what is a minute lasts for two hours here."""
    name = f"tenant-{uuid7().hex}"
    made = await open_tenant(database, name=name, policy="default", allowance=WIDE)
    await limit(database, name, **most)
    await widen(database)
    return name, Account(made.tenant_id, made.key_id)


async def limit(database: Database, name: str, **most: int | None) -> None:
    """Set the tenant's limits."""
    limits = {Unit[unit.upper()]: value for unit, value in most.items()}
    await set_limits(database, tenant=name, scope=Scope.TENANT, name=None, limits=limits)


async def end_the_minute(database: Database) -> None:
    """Let every window end now."""

    async def work(tx: WriteTx) -> None:
        await tx.execute(update(LimitWindow).values(window_end=Ago(0.0)))

    await database.write(work)


async def widen(database: Database, *, again: bool = False) -> None:
    """Open windows that no test outlives, perhaps after others that have ended."""

    async def work(tx: WriteTx) -> None:
        there = select(LimitWindow.rule_id).where(LimitWindow.window_end > Clock())
        without = LimitRule.id.not_in(there)
        rules = select(LimitRule.id, LimitRule.most).where(
            without, LimitRule.unit != "concurrent-requests"
        )
        name = "again" if again else "wide"
        for rule_id, most in (await tx.execute(rules)).all():
            made = insert(LimitWindow).values(id=f"{rule_id}:{name}", rule_id=rule_id)
            start = 0.0 if again else 3_600.0
            at = {"window_start": Ago(start), "window_end": Ago(-3_600.0)}
            await tx.execute(made.values(lim=most, target=most, used=0, held=0, **at))

    await database.write(work)


async def counts(database: Database) -> dict[str, tuple[int, int]]:
    """(used, held) of each unit, over all windows."""
    query = (
        select(LimitRule.unit, func.sum(LimitWindow.used), func.sum(LimitWindow.held))
        .join(LimitRule, LimitRule.id == LimitWindow.rule_id)
        .group_by(LimitRule.unit)
    )
    async with database.read() as tx:
        return {row[0]: (int(row[1]), int(row[2])) for row in (await tx.execute(query)).all()}


def asking(payer: Account, tokens: int, *, journalled: bool = True) -> tuple[Opening, Intent]:
    """A solve whose first call may use so many tokens."""
    made = solve_id()
    first = replace(intent(Claim(made, payer, 1), max_cost=70), max_tokens=tokens)
    begun = opening(payer, 100, solve=made, first=first if journalled else None)
    return replace(begun, tokens_max=tokens), first


def told(tokens: int) -> CallResult:
    """An answer of so many tokens."""
    return CallResult(Bill(CallState.OK, nano(30)), input_tokens=tokens - 1, output_tokens=1)


async def test_requests_of_a_minute_are_counted_and_stay_counted(database: Database) -> None:
    """Once they have ended, too; a refused one counts for nothing."""
    ledger = Ledger(database)
    _, payer = await limited(database, requests=2)
    claim = await ledger.hold(opening(payer, 10))
    await ledger.finish(claim, ending())
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(payer, 10**10, cap=10**10))
    await ledger.hold(opening(payer, 10))
    with pytest.raises(RateLimited) as refused:
        await ledger.hold(opening(payer, 10))
    assert (refused.value.scope, refused.value.limit) == ("tenant", "requests_per_minute")
    assert 3_000 < refused.value.retry_after_s <= 3_600
    assert await counts(database) == {"requests": (1, 1)}
    await assert_books_hold(database)


async def test_solve_counts_at_once_until_it_is_finished(database: Database) -> None:
    """Not by a timer: one that a dead process left counts until another has finished it."""
    ledger = Ledger(database)
    _, payer = await limited(database, concurrent=2)
    claims = [await ledger.hold(opening(payer, 10)) for _ in range(2)]
    with pytest.raises(RateLimited) as refused:
        await ledger.hold(opening(payer, 10))
    assert (refused.value.limit, refused.value.retry_after_s) == ("concurrency", 1)
    await ledger.finish(claims[0], ending("cancelled"))
    await ledger.finish(claims[0], ending("cancelled"))  # which is harmless
    await ledger.hold(opening(payer, 10))
    leases = Leases(database, replica="replica-2")
    await leases.beat()
    taken = await leases.claim(most=5, running=[])
    with pytest.raises(RateLimited):
        await ledger.hold(opening(payer, 10))
    for claim in taken:
        await ledger.finish(claim, ending("failed"))
    assert await counts(database) == {"concurrent-requests": (0, 0)}
    await assert_books_hold(database)


async def test_tokens_are_held_at_their_worst_and_corrected_at_the_end(database: Database) -> None:
    """To what was reported; where nothing was, to all that it may have been."""
    ledger = Ledger(database)
    _, payer = await limited(database, tokens=1_000)
    begun, first = asking(payer, 600)
    claim = await ledger.hold(begun)
    with pytest.raises(RateLimited) as refused:
        await ledger.hold(asking(payer, 401)[0])
    assert refused.value.limit == "tokens_per_minute"
    assert "400 left, and 401 needed" in str(refused.value)
    await ledger.settle_call(claim, first, told(100))
    await ledger.finish(claim, ending())
    assert await counts(database) == {"tokens": (100, 0)}
    silent, first = asking(payer, 300)
    claim = await ledger.hold(silent)
    answer = CallResult(Bill(CallState.OK, None, counted=nano(5)), text="391")
    await ledger.finish(claim, ending(), loose=Loose(outcome=(first, answer)))
    assert await counts(database) == {"tokens": (400, 0)}
    begun, first = asking(payer, 600)
    claim = await ledger.hold(begun)
    await ledger.settle_call(claim, first, told(5_000))  # more than its bound: no end is refused
    await ledger.finish(claim, ending())
    assert await counts(database) == {"tokens": (1_000, 0)}
    await assert_books_hold(database)


async def test_each_further_call_holds_its_tokens_before_it_is_made(database: Database) -> None:
    """One that finds none is not made, and leaves nothing held."""
    ledger = Ledger(database)
    _, payer = await limited(database, tokens=1_000)
    with pytest.raises(RateLimited):  # though it journals no call yet
        await ledger.hold(asking(payer, 1_001, journalled=False)[0])
    claim = await ledger.hold(asking(payer, 600, journalled=False)[0])
    assert await counts(database) == {"tokens": (0, 0)}
    calls = [replace(intent(claim, f"t{n}", max_cost=10), max_tokens=400) for n in range(3)]
    for made in calls[:2]:
        await ledger.intend(claim, made, grow=nano(0))
    with pytest.raises(RateLimited):
        await ledger.intend(claim, calls[2], grow=nano(0))
    assert await counts(database) == {"tokens": (0, 800)}
    await ledger.settle_call(claim, calls[0], told(50))
    await ledger.settle_call(claim, calls[1], failed(may_have_worked=False))
    await ledger.finish(claim, ending())
    assert await counts(database) == {"tokens": (50, 0)}
    await assert_books_hold(database)


async def test_limits_are_changed_and_lifted_at_once(database: Database) -> None:
    """A lowered one comes down as solves end; one that is lifted counts nothing more."""
    ledger = Ledger(database)
    name, payer = await limited(database, concurrent=3)
    claims = [await ledger.hold(opening(payer, 10)) for _ in range(3)]
    await limit(database, name, concurrent=1)
    for claim in claims[:2]:
        await ledger.finish(claim, ending())
        with pytest.raises(RateLimited):
            await ledger.hold(opening(payer, 10))
    await ledger.finish(claims[2], ending())
    await ledger.hold(opening(payer, 10))
    await limit(database, name, concurrent=2)
    await ledger.hold(opening(payer, 10))
    await limit(database, name, concurrent=None)
    for _ in range(5):
        await ledger.hold(opening(payer, 10))
    assert await counts(database) == {"concurrent-requests": (0, 2)}
    with pytest.raises(InvalidRequest):
        await limit(database, name, tokens=-1)
    await assert_books_hold(database)


async def test_minute_that_is_over_starts_anew(database: Database) -> None:
    """A window of its own; what a solve began in the old one ends there."""
    ledger = Ledger(database)
    _, payer = await limited(database, requests=1)
    claim = await ledger.hold(opening(payer, 10))
    await end_the_minute(database)
    await ledger.hold(opening(payer, 10))
    await ledger.finish(claim, ending())
    assert await counts(database) == {"requests": (1, 1)}
    await assert_books_hold(database)


async def test_call_counts_in_the_minute_in_which_it_is_begun(database: Database) -> None:
    """Not in that of its solve: what is held there has no say any more, and is given back there."""
    ledger = Ledger(database)
    _, payer = await limited(database, tokens=100)
    claim = await ledger.hold(opening(payer, 10))
    for number in (1, 2):
        made = replace(intent(claim, f"t{number}", max_cost=1), max_tokens=60)
        await ledger.intend(claim, made, grow=nano(0))
        beyond = replace(intent(claim, "t9", max_cost=1), max_tokens=60)
        with pytest.raises(RateLimited) as refused:
            await ledger.intend(claim, beyond, grow=nano(0))
        assert refused.value.passes
        used = replace(answered(1), input_tokens=7 * number, output_tokens=0)
        await ledger.settle_call(claim, made, used)
        await assert_books_hold(database)
        if number == 1:
            await end_the_minute(database)
            await widen(database, again=True)
    await ledger.finish(claim, ending())
    async with database.read() as tx:
        windows = (await tx.execute(select(LimitWindow.used, LimitWindow.held))).all()
    assert sorted((used, held) for used, held in windows) == [(7, 0), (14, 0)]
    await assert_books_hold(database)


async def test_window_that_was_deleted_under_a_solve_is_not_missed(database: Database) -> None:
    """It held nothing of it, and a day later it is gone: what is begun counts in that of now."""
    ledger = Ledger(database)
    _, payer = await limited(database, tokens=100)
    claim = await ledger.hold(opening(payer, 10))

    async def forget(tx: WriteTx) -> None:
        await tx.execute(delete(LimitWindow))

    await database.write(forget)
    await widen(database)
    made = replace(intent(claim, max_cost=1), max_tokens=60)
    await ledger.intend(claim, made, grow=nano(0))
    assert await counts(database) == {"tokens": (0, 60)}
    await ledger.finish(claim, ending())
    assert (await counts(database))["tokens"][1] == 0
    await assert_books_hold(database)


@pytest.mark.parametrize("unit", ["requests", "tokens", "concurrent"])
async def test_concurrent_solves_never_exceed_a_limit(database_url: str, unit: str) -> None:
    """Of 200 at once, by two processes, as many as fit; never above it at any sample."""
    most, each = (1_000, 30) if unit == "tokens" else (33, 1)
    async with opened(database_url) as watcher, two_processes(database_url) as both:
        _, payer = await limited(watcher, **{unit: most})
        ledgers = [Ledger(database) for database in both]
        samples: list[dict[str, tuple[int, int]]] = []

        async def watch() -> None:
            while True:
                samples.append(await counts(watcher))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        held = await asyncio.gather(
            *(ledgers[n % 2].hold(asking(payer, 30)[0]) for n in range(200)),
            return_exceptions=True,
        )
        watching.cancel()
        refused = [one for one in held if isinstance(one, BaseException)]
        assert {type(one) for one in refused} == {RateLimited}
        assert 200 - len(refused) == most // each == 33
        assert len(samples) > 3
        assert all(sum(count) <= most for sample in samples for count in sample.values())
        assert await counts(watcher) == {Unit[unit.upper()].value: (0, 33 * each)}
        await assert_books_hold(watcher)
