"""Anything in any order: what actors do at random, at once, must leave books that hold."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import pytest

from app.db.engine import Database
from app.ledger.budgets import Account
from app.ledger.endings import Loose
from app.ledger.journal import CallResult, Intent
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.postings import Bill, CallState
from app.ledger.refusals import BudgetExceeded, ClaimLost
from tests.backends import account, opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    ending,
    failed,
    intent,
    levels,
    nano,
    opening,
    unbilled,
)

STEPS = 25
ACTORS = 3


@dataclass
class Actor:
    """A process that remembers what it ever held and called, whether or not it still may."""

    random: Random
    database: Database
    payer: Account
    name: str
    claims: list[Claim] = field(default_factory=list[Claim])
    calls: list[tuple[Claim, Intent]] = field(default_factory=list[tuple[Claim, Intent]])
    ops: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.database)
        self.leases = Leases(self.database, replica=self.name)

    async def act(self) -> None:
        """Do something, which may be refused for a reason that the ledger names."""
        deeds: list[Callable[[], Awaitable[object]]] = [
            self.hold,
            self.intend,
            self.intend,
            self.settle,
            self.settle,
            self.finish,
            self.take_over,
        ]
        with suppress(BudgetExceeded, ClaimLost):
            await self.random.choice(deeds)()

    async def hold(self) -> None:
        """Open a solve."""
        hold = self.random.choice([0, 1, 20, 60])
        self.claims.append(await self.ledger.hold(opening(self.payer, hold, cap=100)))

    async def intend(self) -> None:
        """Journal a call, perhaps beyond the hold, the cap or the budget."""
        if not self.claims:
            return
        claim = self.random.choice(self.claims)
        self.ops += 1
        made = intent(claim, f"{self.name}.{self.ops}", max_cost=self.random.choice([0, 1, 15, 40]))
        self.calls.append((claim, made))
        await self.ledger.intend(claim, made, grow=nano(self.random.choice([0, 0, 15, 90])))

    async def settle(self) -> None:
        """Report an outcome, perhaps again, perhaps of a call that was never journalled."""
        if not self.calls:
            return
        claim, made = self.random.choice(self.calls)
        await self.ledger.settle_call(claim, made, self.outcome(made.max_cost))

    async def finish(self) -> None:
        """End a solve, perhaps again, perhaps with the outcome of a call of its."""
        if not self.claims:
            return
        state = self.random.choice(["completed", "incomplete", "failed", "cancelled"])
        claim = self.random.choice(self.claims)
        made = [one for of, one in self.calls if of == claim]
        last = self.random.choice([None, *made])
        outcome = None if last is None else (last, self.outcome(last.max_cost))
        how = ending(state, erase=self.random.random() < 0.3)
        await self.ledger.finish(claim, how, loose=Loose(outcome=outcome))

    async def take_over(self) -> None:
        """Claim what looks abandoned; nobody here beats, so that is everything."""
        self.claims += await self.leases.claim(most=self.random.choice([1, 3]), running=[])

    def outcome(self, max_cost: int) -> CallResult:
        """Of any kind, at a price below, at or above the worst case."""
        billed = self.random.choice([0, max_cost // 2, max_cost, 3 * max_cost + 1])
        return self.random.choice(
            [
                answered(billed),
                unbilled(billed),
                failed(may_have_worked=True),
                failed(may_have_worked=False),
                CallResult(Bill(CallState.FAILED, nano(billed)), text="cut"),
            ]
        )


async def run(actors: list[Actor], steps: int) -> None:
    """Let all act at once."""

    async def live(actor: Actor) -> None:
        for _ in range(steps):
            await actor.act()

    async with asyncio.TaskGroup() as group:
        for actor in actors:
            group.create_task(live(actor))


@pytest.mark.parametrize("seed", range(4))
async def test_any_schedule_keeps_the_books(database_url: str, seed: int) -> None:
    """While it runs, when it stops, and when everything has been ended."""
    async with opened(database_url) as one, opened(database_url) as other:
        payer = await account(one, limit=nano(300), key_limit=nano(250))
        actors = [
            Actor(Random(f"{seed}.{n}"), (one, other)[n % 2], payer, f"replica-{n}")
            for n in range(ACTORS)
        ]
        for _ in range(2):
            await run(actors, STEPS // 2)
            await assert_books_hold(one)
        last = Actor(Random(seed), one, payer, "replica-last")
        for claim in await last.leases.claim(most=10_000, running=[]):
            await last.ledger.finish(claim, ending("failed"))
        await assert_books_hold(one)
        assert [reserved for _, reserved in await levels(one, payer)] == [0, 0]
