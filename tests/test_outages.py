"""What happens while a part is away: nothing new is spent, nothing is lost, and all goes on after.

Each part is a real server of the test's own. `-s` prints what was counted.
"""

import asyncio
import itertools
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import ColumnElement, func, select

from app.accounts import Allowance, open_tenant
from app.db import migrate
from app.db.engine import Database, once_back
from app.ledger.invariants import check
from app.ledger.periods import Period
from app.ledger.tables import Budget, Call, Solve
from app.money import from_usd
from tests.backends import opened
from tests.providers.upstream import KEY, Asked, Upstream, completion, respond, upstream
from tests.servers import own_postgresql, own_redis
from tests.solve.serving import gateway_process, kill_9
from tests.test_service import CONFIG

AWAY_S: Final = 20.0
LEASE_S: Final = 3.0
CALL_S: Final = 0.5
SEARCHES: Final = 12

Json = dict[str, Any]

SEARCH: Final[Json] = {
    "input": "Which number?",
    "mode": "search",
    "evaluators": [{"type": "exact", "config": {"expected": "no such answer"}}],
    "budget": {"max_cost_usd": "5", "deadline_ms": 60_000},
}


@dataclass(frozen=True, slots=True)
class Parts:
    """A migrated database, where its trees go, the models behind it, and a tenant's key."""

    database_url: str
    redis_url: str
    database: Database
    models: Upstream
    config: Path
    key: str

    @asynccontextmanager
    async def replica(self) -> AsyncGenerator[tuple[subprocess.Popen[bytes], httpx.AsyncClient]]:
        """A gateway's process, and a client of it."""
        async with (
            gateway_process(
                self.config,
                database_url=self.database_url,
                redis_url=self.redis_url,
                lease_s=LEASE_S,
                UPSTREAM_KEY=KEY,
            ) as (process, address),
            httpx.AsyncClient(
                base_url=address,
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=120,
                limits=httpx.Limits(max_connections=200),
            ) as client,
        ):
            yield process, client

    async def count(self, *where: ColumnElement[bool]) -> int:
        """How many rows of the one table that the conditions name meet them."""

        async def read(_again: bool) -> int:  # noqa: FBT001 - as it is told
            async with self.database.read() as tx:
                return int(await tx.scalar(select(func.count()).where(*where)) or 0)

        # After the database was away, the connection that was kept is of no use.
        return await once_back(read)

    async def until(self, *where: ColumnElement[bool], at_least: int = 1) -> float:
        """Wait for so many such rows; how many seconds that took."""
        started = perf_counter()
        async with asyncio.timeout(90):
            while await self.count(*where) < at_least:  # noqa: ASYNC110 - another process's work
                await asyncio.sleep(0.05)
        return perf_counter() - started

    async def assert_books_close(self, *, solves: int) -> None:
        """Every solve has ended, nothing is held or open, and every rule holds."""
        assert await self.count(Solve.completed_at.is_not(None)) == solves
        assert await self.count(Call.state == "intent") == 0
        assert await self.count(Budget.reserved != 0) == 0
        assert [finding for finding in await check(self.database) if not finding.holds] == []


@asynccontextmanager
async def parts(folder: Path, database_url: str, redis_url: str) -> AsyncGenerator[Parts]:
    """These parts, with models that take their time and never say the same twice."""
    said = itertools.count()

    async def slowly(_asked: Asked) -> bytes:
        await asyncio.sleep(CALL_S)
        return respond(completion(str(next(said))))

    await migrate.upgrade(database_url)
    async with upstream(slowly) as models, opened(database_url) as database:
        config = folder / "fathom.toml"
        config.write_text(CONFIG.replace("BASE_URL", models.base_url))
        allowance = Allowance(limit=from_usd("50"), period=Period.TOTAL)
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        yield Parts(database_url, redis_url, database, models, config, account.key)


async def search(client: httpx.AsyncClient, seed: int, *, nodes: int, at_once: int = 4) -> Json:
    """A search that never finds what it is after: the solve object."""
    bounds = {"max_nodes": nodes, "patience": 500, "concurrency": at_once}
    response = await client.post("/v1/solve", json=SEARCH | {"seed": seed, "search": bounds})
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


async def test_a_search_killed_half_way_goes_on_elsewhere(tmp_path: Path) -> None:
    """Within three leases, making no call again that had come back, on the same tree and budget."""
    async with (
        own_postgresql() as postgresql,
        own_redis() as redis,
        parts(tmp_path, postgresql.url, redis.url) as running,
        running.replica() as (process, client),
        running.replica() as (_, other),
    ):
        asking = asyncio.create_task(search(client, 1, nodes=100, at_once=8))
        await running.until(Call.told_seq.is_not(None), at_least=50)
        kill_9(process)
        # Of a process that is dead: while it lives, it goes on between any two looks.
        in_flight = await running.count(Call.state == "intent")
        asked, spent = len(running.models.asked), await _spent(running.database)
        with pytest.raises(httpx.TransportError):
            await asking
        claimed_s = await running.until(Solve.token == 2)
        resumed_spent = await _spent(running.database)
        await running.until(Solve.completed_at.is_not(None))
        (solve_id,) = await _ids(running.database)
        tree = (await other.get(f"/v1/solves/{solve_id}/tree")).json()
        await redis.empty()
        rebuilt = (await other.get(f"/v1/solves/{solve_id}/tree")).json()
        extra = len(running.models.asked) - 100
        print(  # noqa: T201 - the figures that were asked for
            f"\nkilled with {asked} calls made, {in_flight} in flight, {spent} nano-dollars spent;"
            f" claimed after {claimed_s:.1f} s (lease {LEASE_S} s), {resumed_spent} spent then;"
            f" {len(tree['nodes'])} nodes, {extra} calls more than nodes"
        )
        assert claimed_s <= 3 * LEASE_S
        assert resumed_spent >= spent
        assert len(tree["nodes"]) == 100
        assert 0 <= extra <= in_flight
        assert rebuilt == tree
        await running.assert_books_close(solves=1)


async def test_a_database_that_is_away_costs_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """New solves get 503; those that run wait, and end; no replica takes from one that lives."""
    async with (
        own_postgresql() as postgresql,
        own_redis() as redis,
        parts(tmp_path, postgresql.url, redis.url) as running,
        running.replica() as (_, client),
        running.replica() as (_, other),
    ):
        asking = [
            asyncio.create_task(search(one, seed, nodes=40))
            for seed, one in enumerate([client, other] * (SEARCHES // 2))
        ]
        await running.until(Call.state == "ok", at_least=3 * SEARCHES)
        postgresql.stop(signal.SIGQUIT)
        came_back = asyncio.get_running_loop().time() + AWAY_S
        told = Counter[tuple[int, str | None]]()
        await asyncio.sleep(2 * CALL_S)  # what was in flight comes back
        asked = len(running.models.asked)
        while asyncio.get_running_loop().time() < came_back:
            refused = await client.post("/v1/solve", json={"input": "Which?", "mode": "single"})
            told[refused.status_code, refused.headers.get("retry-after")] += 1
            await asyncio.sleep(0.5)
        spent_away = len(running.models.asked) - asked
        await postgresql.start()
        solved = await asyncio.gather(*asking)
        orphans = await running.count(Call.state == "orphan")
        claims = await running.count(Solve.token > 1)
        print(  # noqa: T201 - the figures that were asked for
            f"\n{AWAY_S} s without a database: answers {dict(told)}, calls begun {spent_away};"
            f" afterwards {len(solved)} of {SEARCHES} searches ended,"
            f" {orphans} calls orphaned, {claims} solves claimed"
        )
        assert {status for status, _ in told} == {503}
        assert None not in {retry_after for _, retry_after in told}
        assert (spent_away, orphans, claims) == (0, 0, 0)
        assert [one["search"]["nodes"] for one in solved] == [40] * SEARCHES
        again = await client.post("/v1/solve", json={"input": "Which?", "mode": "single"})
        assert again.status_code == 200, again.text
        await running.assert_books_close(solves=SEARCHES + 1)


async def test_searches_go_on_while_the_tree_store_is_away(tmp_path: Path) -> None:
    """The journal has what matters: every node is there afterwards, also of trees begun without."""
    async with (
        own_postgresql() as postgresql,
        own_redis(durable="no") as redis,
        parts(tmp_path, postgresql.url, redis.url) as running,
        running.replica() as (_, client),
    ):
        asking = [
            asyncio.create_task(search(client, seed, nodes=80)) for seed in range(SEARCHES // 2)
        ]
        await running.until(Call.state == "ok", at_least=SEARCHES)
        redis.stop(signal.SIGKILL)
        asking += [
            asyncio.create_task(search(client, seed, nodes=40))
            for seed in range(SEARCHES // 2, SEARCHES)
        ]
        before = await running.count(Call.state == "ok")
        await asyncio.sleep(AWAY_S)
        meanwhile = await running.count(Call.state == "ok") - before
        await redis.start()
        solved = await asyncio.gather(*asking)
        sizes = [len((await client.get(one["links"]["tree"])).json()["nodes"]) for one in solved]
        orphans = await running.count(Call.state == "orphan")
        print(  # noqa: T201 - the figures that were asked for
            f"\n{AWAY_S} s without a tree store: {meanwhile} calls answered meanwhile;"
            f" trees of {sizes} nodes, {orphans} calls orphaned"
        )
        assert meanwhile > 0
        assert sizes == [80] * (SEARCHES // 2) + [40] * (SEARCHES // 2)
        assert orphans == 0
        await running.assert_books_close(solves=SEARCHES)


async def test_clients_that_leave_take_their_calls_with_them(tmp_path: Path) -> None:
    """Of 50 searches: calls in flight are cut, none begins afterwards, all is settled soon."""
    async with (
        own_postgresql() as postgresql,
        own_redis() as redis,
        parts(tmp_path, postgresql.url, redis.url) as running,
        running.replica() as (_, client),
    ):
        asking = [asyncio.create_task(search(client, seed, nodes=100)) for seed in range(50)]
        await running.until(Call.state == "ok", at_least=100)
        in_flight = running.models.in_flight
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await running.models.until(lambda models: models.in_flight == 0)
        asked = len(running.models.asked)
        settled_s = await running.until(Solve.completed_at.is_not(None), at_least=50)
        await asyncio.sleep(2)
        late = len(running.models.asked) - asked
        print(  # noqa: T201 - the figures that were asked for
            f"\n50 clients left with {in_flight} calls in flight: all settled {settled_s:.2f} s"
            f" later, {late} calls begun afterwards"
        )
        assert late == 0
        assert await running.count(Solve.state == "cancelled") == 50
        await running.assert_books_close(solves=50)


async def _spent(database: Database) -> int:
    async with database.read() as tx:
        return int(await tx.scalar(select(func.sum(Solve.posted))) or 0)


async def _ids(database: Database) -> Sequence[str]:
    async with database.read() as tx:
        return (await tx.scalars(select(Solve.id))).all()
