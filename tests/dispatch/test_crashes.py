"""Batches outlive the processes that run them, and no line is paid twice."""

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path

import httpx
from sqlalchemy import func, select

from app.accounts import Allowance, open_tenant
from app.data.game24 import puzzles
from app.db.engine import Database
from app.ledger.batch_tables import BatchLineRow
from app.ledger.invariants import check
from app.ledger.periods import Period
from app.ledger.tables import Call, Solve
from app.money import from_usd
from app.providers.scripted import held, reply
from tests.backends import opened
from tests.dispatch.batching import line, lines, output, over, sent
from tests.gateway import Json, assert_balanced, open_account, served
from tests.solve.detached import replica
from tests.solve.serving import gateway_process, kill_9, slow_config

COUNT = 24


async def _count(database: Database, state: str) -> int:
    query = select(func.count()).where(BatchLineRow.state == state)
    async with database.read() as tx:
        return int(await tx.scalar(query) or 0)


async def _answered_once(database: Database) -> None:
    """Each solve of one call has one answer that was paid for."""
    query = select(Call.solve_id, Call.cost).where(Call.state == "ok")
    async with database.read() as tx:
        paid = (await tx.execute(query)).all()
        solves = (await tx.scalars(select(Solve.id))).all()
    assert Counter(solve for solve, _ in paid) == Counter(solves)


async def test_drained_process_leaves_its_lines_to_the_next(database_url: str) -> None:
    """Those in flight are waited for; nothing that was answered is asked again."""
    gate = asyncio.Event()
    async with replica(database_url, held(gate, reply("391"))) as (first, provider):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            batch = await sent(client, lines(COUNT))
            await provider.arrived(8)
        asyncio.get_running_loop().call_later(0.1, gate.set)
    assert len(provider.requests) == 8
    async with replica(database_url, reply("391")) as (second, _):
        async with served(second, account.key) as (_, client):
            ended = await over(client, batch)
            outputs = await output(client, batch)
        assert ended["request_counts"] == {"total": COUNT, "completed": COUNT, "failed": 0}
        assert [one["custom_id"] for one in outputs] == [f"q{n}" for n in range(COUNT)]
        await _answered_once(second.database)
        await assert_balanced(second)


async def test_two_replicas_share_a_batch_within_one_cap(database_url: str) -> None:
    """Each runs some of it; the cap is as strict as with one."""
    answer = reply("391", input_tokens=0, output_tokens=500)
    async with (
        replica(database_url, answer, lease_s=10) as (first, one),
        replica(database_url, answer, lease_s=10) as (second, other),
    ):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            batch = await sent(client, lines(60), cap="0.1")
            ended = await over(client, batch)
            outputs = await output(client, batch)
        assert ended["request_counts"] == {"total": 60, "completed": 18, "failed": 42}
        assert Decimal(ended["budget"]["spent_usd"]) == Decimal("0.09")
        assert len(outputs) == 60
        assert len(one.requests) + len(other.requests) == 18
        await assert_balanced(second)


def _puzzle(number: int) -> Json:
    puzzle = puzzles()[number % len(puzzles())]
    config = {"numbers": list(puzzle.numbers), "target": 24}
    return line(
        f"p{number}",
        input=puzzle.problem,
        mode="search",
        seed=number,
        evaluators=[{"type": "expression", "config": config}],
        search={"max_nodes": 4, "patience": 4, "concurrency": 2},
    )


async def test_lines_of_a_killed_process_are_finished_by_the_next(
    database_url: str, redis_url: str | None, tmp_path: Path
) -> None:
    """Whatever it was amid; every line ends, and the books hold."""
    config, count = slow_config(tmp_path, latency_s=0.05), 16
    tree_store = None if database_url.startswith("sqlite") else redis_url
    async with opened(database_url) as database:
        allowance = Allowance(limit=from_usd("20"), period=Period.TOTAL)
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        headers = {"Authorization": f"Bearer {account.key}"}
        async with gateway_process(config, database_url=database_url, redis_url=tree_store) as (
            process,
            address,
        ):
            async with httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as client:
                batch = await sent(client, [_puzzle(number) for number in range(count)])
                async with asyncio.timeout(60):
                    while not await _count(database, "ok"):  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.02)
            kill_9(process)
        assert await _count(database, "taken") > 0, "killed too late"
        async with (
            gateway_process(config, database_url=database_url, redis_url=tree_store) as (
                _,
                address,
            ),
            httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as client,
        ):
            ended = await over(client, batch)
            outputs = await output(client, batch)
        assert ended["request_counts"] == {"total": count, "completed": count, "failed": 0}
        spent = sum(Decimal(one["response"]["body"]["cost"]["total_usd"]) for one in outputs)
        assert spent == Decimal(ended["budget"]["spent_usd"])
        assert [found.name for found in await check(database) if not found.holds] == []
