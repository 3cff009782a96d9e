"""What a killed process leaves is finished by the next: once, and paid for once."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import ColumnElement, func, select

from app.accounts import Allowance, open_tenant
from app.data.game24 import puzzles
from app.db.engine import Database
from app.ledger.periods import Period
from app.ledger.tables import Budget, Call, Entry, Solve
from app.money import from_usd
from tests.backends import opened
from tests.solve.serving import gateway_process, kill_9, slow_config

CALLS_PER_SOLVE_BEFORE_DEATH = 2.5


def _search(number: int) -> dict[str, Any]:
    puzzle = puzzles()[number % len(puzzles())]
    config = {"numbers": list(puzzle.numbers), "target": 24}
    return {
        "input": puzzle.problem,
        "mode": "search",
        "seed": number,
        "evaluators": [{"type": "expression", "config": config}],
        "search": {"max_nodes": 10, "patience": 10, "concurrency": 4},
    }


async def _post(client: httpx.AsyncClient, number: int) -> None:
    with suppress(httpx.TransportError):  # the process is killed under it
        await client.post("/v1/solve", json=_search(number))


async def _count(database: Database, *where: ColumnElement[bool]) -> int:
    """How many rows of the one table that the conditions name meet them."""
    async with database.read() as tx:
        return int(await tx.scalar(select(func.count()).where(*where)) or 0)


async def _until(database: Database, *where: ColumnElement[bool], at_least: int) -> None:
    async with asyncio.timeout(60):
        while await _count(database, *where) < at_least:  # noqa: ASYNC110 - another process's work
            await asyncio.sleep(0.05)


async def test_searches_of_a_killed_process_are_finished_by_the_next(
    database_url: str, redis_url: str | None, tmp_path: Path
) -> None:
    """Every solve ends once, nothing is charged twice, the budget spent before stays spent."""
    config = slow_config(tmp_path, latency_s=0.05)
    solves = 20 if database_url.startswith("postgresql") else 8  # one writer takes its time
    tree_store = None if database_url.startswith("sqlite") else redis_url
    async with opened(database_url) as database:
        allowance = Allowance(limit=from_usd("20"), period=Period.TOTAL)
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        async with gateway_process(config, database_url=database_url, redis_url=tree_store) as (
            process,
            address,
        ):
            headers = {"Authorization": f"Bearer {account.key}"}
            async with (
                httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as client,
                asyncio.TaskGroup() as clients,
            ):
                for number in range(solves):
                    clients.create_task(_post(client, number))
                await _until(
                    database,
                    Call.state == "ok",
                    at_least=int(solves * CALLS_PER_SOLVE_BEFORE_DEATH),
                )
                kill_9(process)
        left = await _count(database, Solve.state == "in_progress")
        open_calls = await _count(database, Call.state == "intent")
        assert left > 0, "killed too late to show anything"
        async with gateway_process(config, database_url=database_url, redis_url=tree_store):
            await _until(database, Solve.completed_at.is_not(None), at_least=solves)
        await _assert_books_close(database, open_calls)


async def _assert_books_close(database: Database, open_calls: int) -> None:
    async with database.read() as tx:
        budgets = (await tx.execute(select(Budget.posted, Budget.reserved))).all()
        entries = (
            await tx.execute(select(Entry.account, func.sum(Entry.amount)).group_by(Entry.account))
        ).all()
        calls = (await tx.execute(select(Call.op, Call.solve_id, Call.state, Call.cost))).all()
        states = (await tx.execute(select(Solve.state))).scalars().all()
    charged = sum(cost for _, _, _, cost in calls)
    assert [(posted, reserved) for posted, reserved in budgets] == [(charged, 0), (charged, 0)]
    assert sum(amount for _, amount in entries) == 0
    assert set(states) <= {"completed", "incomplete"}
    orphans = [(op, solve) for op, solve, state, _ in calls if state == "orphan"]
    assert len(orphans) == open_calls
    paid = [(op, solve) for op, solve, state, _ in calls if state == "ok"]
    assert len(paid) == len(set(paid))
