"""A thousand solves of one tenant at once, from four processes that share only the database."""

import asyncio
import sys
from asyncio.subprocess import PIPE

from app.db.engine import Database
from app.ledger.budgets import Account
from tests.backends import account, opened
from tests.ledger.books import assert_books_hold, levels, nano
from tests.ledger.crowd import COST, HOLD

PROCESSES = 4
SOLVES = 1_000
LIMIT = 9_000
"""What 300 solves hold at once; as they end for less, others fit."""


async def test_no_crowd_of_processes_exceeds_a_budget(database_url: str) -> None:
    """Never at a sample, and in the end what was spent is what the admitted ones cost."""
    async with opened(database_url) as database:
        payer = await account(database, limit=nano(LIMIT))
        command = [sys.executable, "-m", "tests.ledger.crowd"]
        arguments = [database_url, payer.tenant_id, payer.key_id, str(SOLVES // PROCESSES)]
        crowd = [
            await asyncio.create_subprocess_exec(*command, *arguments, stdin=PIPE, stdout=PIPE)
            for _ in range(PROCESSES)
        ]
        for one in crowd:
            assert one.stdout is not None
            assert await one.stdout.readline() == b"ready\n"
        worst: list[int] = []
        watching = asyncio.create_task(_watch(database, payer, worst))
        told = await asyncio.gather(*(one.communicate(b"go\n") for one in crowd))
        watching.cancel()
        admitted = sum(int(printed) for printed, _ in told)
        print(f"\n{admitted} of {SOLVES} admitted; {len(worst)} samples, the highest {max(worst)}")  # noqa: T201
        assert LIMIT // HOLD <= admitted < SOLVES
        assert max(worst) <= LIMIT
        assert (await levels(database, payer))[0] == (admitted * COST, 0)
        await assert_books_hold(database)


async def _watch(database: Database, payer: Account, worst: list[int]) -> None:
    while True:
        worst += [posted + reserved for posted, reserved in await levels(database, payer)][:1]
        await asyncio.sleep(0.005)
