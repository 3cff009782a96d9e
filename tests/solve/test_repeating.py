"""The same request with the same seed: the same tree, answer and cost lines, and from its log."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.ids import SolveId
from app.providers.completion import CompletionRequest, ProviderUnavailable
from app.providers.scripted import Answer, ScriptedProvider, reply
from app.search.search import Search, replay
from app.settings import Settings
from app.solve.engine import search_settings
from app.solve.past import plan_from
from app.solve.request import request_from
from app.solve.tree import read_log, rebuild
from app.store.treelog import TreeLog
from app.wiring import open_gateway, open_redis
from tests.backends import skip
from tests.gateway import Json, exact, fathom, scripted_config, served, unexpected
from tests.solve.repeat import repeatable

ROOT = Path(__file__).parents[2]


def _url(folder: Path, name: str) -> str:
    return f"sqlite+aiosqlite:///{folder / name}"


async def test_one_worker_repeats_a_search_in_this_process(tmp_path: Path) -> None:
    """Two gateways, two databases, one result."""
    first = await repeatable(_url(tmp_path, "1.db"), 1)
    assert len(first["nodes"]) > 4, "a tree worth the name"
    assert await repeatable(_url(tmp_path, "2.db"), 1) == first


async def test_one_worker_repeats_a_search_in_another_process(tmp_path: Path) -> None:
    """Whatever the other process hashes strings to."""
    first = await repeatable(_url(tmp_path, "1.db"), 1)
    found = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [sys.executable, "-m", "tests.solve.repeat", _url(tmp_path, "2.db"), "1"],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(found.stdout.splitlines()[-1]) == first


async def test_another_seed_makes_another_search(tmp_path: Path) -> None:
    """Or the seed would fix nothing."""
    first, second = [await repeatable(_url(tmp_path, f"{n}.db"), 1, seed=n) for n in (3, 4)]
    assert first["nodes"] != second["nodes"]


def _unsteady(request: CompletionRequest) -> Answer:
    """Answers that take as long as they like, and every third call fails."""
    number = int(request.op[1:])
    if number % 3 == 0:
        return ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=0)
    return reply(f"{number * 7 % 11}", output_tokens=number * 20)


async def _unhurried(request: CompletionRequest) -> Answer:
    await asyncio.sleep(int(request.op[1:]) * 5 % 7 * 0.01)
    return _unsteady(request)


FOUR_WORKERS: Json = {
    "mode": "search",
    "search": {"max_nodes": 14, "patience": 14, "concurrency": 4},
} | exact("391")


def _shape(search: Search) -> list[tuple[object, ...]]:
    return [(n.id, n.parent, n.depth, n.expert, n.score, n.cost) for n in search.nodes]


async def test_tree_of_four_workers_is_what_its_log_and_its_journal_each_give(
    sqlite_url: str, redis_url: str | None
) -> None:
    """Replayed from the tree store event by event, and rebuilt by who has only the database."""
    if redis_url is None:
        skip("no Redis that outlives a gateway")
    async with fathom(sqlite_url, _unhurried, redis_url=redis_url) as running:
        solve = await running.solved(FOUR_WORKERS)
        live = await running.tree(solve)
        assert running.provider.max_in_flight > 1
        found = await running.gateway.services.archive.find(
            await running.gateway.services.directory.authenticate(running.account.key), solve["id"]
        )
        key = running.account.key
    assert len(live["nodes"]) == solve["search"]["nodes"] > 8
    assert found.record.request is not None
    assert found.record.plan is not None
    settings = search_settings(request_from(found.record.request), plan_from(found.record.plan))
    async with open_redis(redis_url) as redis:
        replayed = replay(settings, await read_log(TreeLog(redis), SolveId(solve["id"])))
    rebuilt = rebuild(settings, found.calls)
    assert isinstance(rebuilt, Search)
    assert _shape(replayed) == _shape(rebuilt)
    assert replayed.log == rebuilt.log
    assert [(node.id, node.parent, node.score) for node in replayed.nodes] == [
        (node["node"], node["parent"], node["score"]) for node in live["nodes"]
    ]
    async with _reopened(sqlite_url, key) as client:
        assert (await client.get(solve["links"]["tree"])).json() == live


@pytest.mark.parametrize("bound", [{"max_calls": 9}, {"max_cost_usd": "0.02"}])
async def test_tree_cut_short_by_a_budget_is_rebuilt_from_the_journal(
    bound: Json, sqlite_url: str
) -> None:
    """Also the asks whose calls were refused, and which the journal therefore never saw."""
    async with fathom(sqlite_url, _unhurried) as running:
        solve = await running.solved(FOUR_WORKERS, budget=bound)
        assert solve["incomplete_details"] == {"reason": "budget_exhausted"}
        live = await running.tree(solve)
        key = running.account.key
    async with _reopened(sqlite_url, key) as client:
        assert (await client.get(solve["links"]["tree"])).json() == live


async def test_tree_cut_short_by_a_deadline_is_rebuilt_from_the_journal(sqlite_url: str) -> None:
    """Wherever it struck: every node that was paid for is in both."""
    async with fathom(sqlite_url, _unhurried) as running:
        solves = [
            await running.solve(FOUR_WORKERS, budget={"deadline_ms": deadline_ms})
            for deadline_ms in range(60, 240, 30)
        ]
        cut = [solve.json() for solve in solves if solve.is_success]
        live = [await running.tree(solve) for solve in cut]
        key = running.account.key
    async with _reopened(sqlite_url, key) as client:
        assert [(await client.get(solve["links"]["tree"])).json() for solve in cut] == live


@asynccontextmanager
async def _reopened(database_url: str, key: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A gateway of another process, so to say: the embedded tree store starts empty."""
    settings = Settings(database_url=database_url)
    script = ScriptedProvider(unexpected)
    async with (
        open_gateway(settings, scripted_config(), providers={"scripted": script}) as gateway,
        served(gateway, key) as (_, client),
    ):
        yield client
