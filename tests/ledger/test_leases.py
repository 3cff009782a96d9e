"""Taking over what a dead replica left: so much at a time, oldest first, each solve once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from sqlalchemy import text

from app.db.engine import Database, WriteTx
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.refusals import ClaimLost
from tests.backends import SQLITE, account, opened
from tests.ledger.books import ending, opening

LEFT: Final = 12
PLANS: Final = ("hashjoin", "mergejoin", "hashagg", "material", "sort")
"""Without these PostgreSQL joins by asking one side again for every row of the other."""


@asynccontextmanager
async def with_another_plan(url: str) -> AsyncGenerator[Database]:
    """The database as it may be one day, when its statistics have led it to another plan."""
    if not url.startswith(SQLITE):
        await _plan(url, "off")
    try:
        async with opened(url) as database:
            yield database
    finally:
        if not url.startswith(SQLITE):
            await _plan(url, "default")


async def _plan(url: str, value: str) -> None:
    async def work(tx: WriteTx) -> None:
        name = await tx.scalar(text("SELECT current_database()"))
        for setting in PLANS:
            await tx.execute(text(f'ALTER DATABASE "{name}" SET enable_{setting} TO {value}'))

    async with opened(url) as database:
        await database.write(work)


async def test_no_more_is_claimed_than_was_asked_for(database_url: str) -> None:
    """Whatever plan the database makes: what died on one replica must not drown the next."""
    async with with_another_plan(database_url) as database:
        ledger, payer = Ledger(database), await account(database)
        left = [(await ledger.hold(opening(payer, 1))).solve_id for _ in range(LEFT)]
        leases = Leases(database, replica="replica-2")
        await leases.beat()
        for taken in range(0, LEFT, 5):
            claims = await leases.claim(most=5, running=[])
            assert [claim.solve_id for claim in claims] == left[taken : taken + 5]
            for claim in claims:
                await ledger.finish(claim, ending("failed"))
        assert await leases.claim(most=5, running=[]) == []


async def test_own_solve_is_claimed_unless_it_runs(database: Database) -> None:
    """What a process lost is its own to take up again, and what it runs is never stolen from it."""
    ledger, payer = Ledger(database), await account(database)
    runs, lost, starts = [await ledger.hold(opening(payer, 1)) for _ in range(3)]
    leases = Leases(database, replica="replica-1")
    await leases.beat()
    running = [runs.solve_id, starts.solve_id]
    taken = await leases.claim(most=5, running=running)
    assert [(claim.solve_id, claim.token) for claim in taken] == [(lost.solve_id, 2)]
    assert await leases.claim(most=5, running=[*running, lost.solve_id]) == []
    with pytest.raises(ClaimLost):
        await ledger.finish(lost, ending("failed"))
    for claim in (runs, *taken, starts):
        await ledger.finish(claim, ending("failed"))
