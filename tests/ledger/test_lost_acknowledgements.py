"""A commit that happened, and whose acknowledgement was lost: done again, it is done once."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import pytest
from sqlalchemy import select

from app.db.engine import Database, DatabaseUnavailable, WriteTx
from app.ledger import limits
from app.ledger.budgets import Account
from app.ledger.endings import Loose
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.postings import Share
from app.ledger.quotas import Unit
from app.ledger.refusals import ClaimLost
from app.ledger.tables import LimitRule, LimitWindow
from app.notices import outbox
from app.notices.notice import Channel, Notice
from tests.backends import account
from tests.ledger.books import (
    answered,
    assert_books_hold,
    ending,
    intent,
    levels,
    nano,
    opening,
    solve_row,
)
from tests.ledger.test_raises import bounded, raise_that_ended, raised

T = TypeVar("T")


class Forgetful(Database):
    """A database whose next `lost` commits happen without anybody hearing of it."""

    lost = 0
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """What others do while the next write waits, which then does not happen."""

    async def write(self, work: Callable[[WriteTx], Awaitable[T]]) -> T:
        """Commit, and say so or not."""
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
            raise DatabaseUnavailable("the connection was lost before the commit")
        done = await super().write(work)
        if self.lost:
            self.lost -= 1
            raise DatabaseUnavailable("the connection was lost after the commit")
        return done


@pytest.fixture
async def forgetful(database_url: str) -> AsyncGenerator[Forgetful]:
    """An empty one."""
    database = Forgetful(database_url)
    yield database
    await database.aclose()


@asynccontextmanager
async def unheard(database: Forgetful) -> AsyncGenerator[None]:
    """The first commit in the block is not acknowledged."""
    database.lost = 1
    yield
    assert database.lost == 0, "nothing was committed"


async def test_everything_of_a_solve_is_written_once(forgetful: Forgetful) -> None:
    """The intent draws once, the outcome costs once and its run is told, the solve ends once."""
    ledger = Ledger(forgetful)
    payer = await account(forgetful)
    claim = await ledger.hold(opening(payer, 300))
    made = intent(claim, max_cost=200)
    async with unheard(forgetful):
        await ledger.intend(claim, made, grow=nano(50))
    assert await levels(forgetful, payer) == [(0, 350), (0, 350)]
    async with unheard(forgetful):
        assert await ledger.settle_call(claim, made, answered(120)) == Share(nano(120))
    async with unheard(forgetful):
        await ledger.finish(claim, ending())
    assert await levels(forgetful, payer) == [(120, 0), (120, 0)]
    await assert_books_hold(forgetful)


async def test_what_is_counted_and_told_is_so_once(forgetful: Forgetful) -> None:
    """Tokens, requests and solves at once, the outcome that goes with the end, and the notice."""
    ledger = Ledger(forgetful)
    payer = await account(forgetful)
    await limited(forgetful, payer, tokens=100, requests=9, concurrent=9)
    claim = await ledger.hold(opening(payer, 300))
    made = replace(intent(claim, "t1", max_cost=200), max_tokens=40)
    async with unheard(forgetful):
        await ledger.intend(claim, made, grow=nano(50))
    assert await counted(forgetful) == {"tokens": (0, 40), "requests": (0, 1), AT_ONCE: (0, 1)}
    notice = Notice(
        id=f"msg_{claim.solve_id.removeprefix('slv_')}",
        tenant_id=payer.tenant_id,
        channel=Channel.WEBHOOK,
        destination="https://acme.example/hook",
        event="solve.completed",
        body="{}",
    )
    outcome = replace(answered(120), input_tokens=7, output_tokens=3)
    async with unheard(forgetful):
        end = replace(ending(), notices=[notice])
        await ledger.finish(claim, end, loose=Loose(outcome=(made, outcome)))
    assert await counted(forgetful) == {"tokens": (10, 0), "requests": (1, 0), AT_ONCE: (0, 0)}
    assert await levels(forgetful, payer) == [(120, 0), (120, 0)]
    async with forgetful.read() as tx:
        assert await outbox.counts(tx) == {"pending": 1, "dead": 0}
    await assert_books_hold(forgetful)


async def test_growth_beyond_a_raise_that_ended_is_drawn_once(forgetful: Forgetful) -> None:
    """Whichever of its commits is not heard of: the one that renews the limit, or the draw's."""
    ledger = Ledger(forgetful)
    for lost in (1, 2):
        name, payer = await bounded(forgetful, 500)
        await raised(forgetful, name, 100)
        claim = await ledger.hold(opening(payer, 300))
        await raise_that_ended(forgetful, payer, 10**6)
        forgetful.lost = lost
        await ledger.intend(claim, intent(claim, max_cost=550), grow=nano(250))
        assert forgetful.lost == 0
        assert (await solve_row(forgetful, claim))[:3] == (550, 0, 550)
        await ledger.finish(claim, ending())
    await assert_books_hold(forgetful)


AT_ONCE = "concurrent-requests"


async def limited(
    database: Database, payer: Account, *, tokens: int, requests: int, concurrent: int
) -> None:
    """Limits of the tenant."""
    most = {Unit.TOKENS: tokens, Unit.REQUESTS: requests, Unit.CONCURRENT: concurrent}

    async def work(tx: WriteTx) -> None:
        for unit, count in most.items():
            whose = {"scope": "tenant", "scope_id": payer.tenant_id}
            await limits.set_limit(tx, owner=payer.tenant_id, **whose, unit=unit, most=count)

    await database.write(work)


async def counted(database: Database) -> dict[str, tuple[int, int]]:
    """(used, held) of each window, by what it counts."""
    query = select(LimitRule.unit, LimitWindow.used, LimitWindow.held)
    async with database.read() as tx:
        rows = await tx.execute(query.join(LimitRule, LimitRule.id == LimitWindow.rule_id))
        return {unit: (used, held) for unit, used, held in rows.all()}


async def test_call_begun_by_who_took_over_is_not_taken_for_ones_own(forgetful: Forgetful) -> None:
    """Or both would make it: the one journalled call would be charged by its provider twice."""
    ledger = Ledger(forgetful)
    payer = await account(forgetful)
    claim = await ledger.hold(opening(payer, 300))
    made = intent(claim, max_cost=200)

    async def taken_over() -> None:
        (taken,) = await Leases(forgetful, replica="replica-2").claim(most=5, running=[])
        assert taken.solve_id == claim.solve_id
        await ledger.intend(taken, intent(taken, max_cost=200), grow=nano(0))

    forgetful.meanwhile = taken_over
    with pytest.raises(ClaimLost):
        await ledger.intend(claim, made, grow=nano(0))
    assert await levels(forgetful, payer) == [(0, 300), (0, 300)]
    await assert_books_hold(forgetful)
