"""A caller that goes away: its calls are cancelled, its hold is freed, its solve has ended."""

import asyncio
import itertools

import httpx
from sqlalchemy import update

from app.db.engine import WriteTx
from app.demo import serving
from app.ids import solve_id
from app.money import NanoUSD, from_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, by_op, held, reply
from app.store.treelog import TreeLog
from app.tenants.tables import KeyRow
from app.wiring import open_redis
from tests.gateway import Json, exact, fathom

RIGHT = exact("391")
SEARCH: Json = {"mode": "search", "search": {"concurrency": 2, "max_nodes": 6}} | RIGHT


async def test_cancelled_solve_is_settled(sqlite_url: str) -> None:
    """The call in flight is cancelled too; what was charged before stays charged."""
    script = by_op({"gate.first": reply("7"), "*": held(asyncio.Event(), reply("8"))})
    async with fathom(sqlite_url, script) as running:
        request = asyncio.create_task(running.solve())
        await running.provider.arrived(2)
        request.cancel()
        await asyncio.wait([request])
        assert request.cancelled()
        assert running.provider.cancelled == 1
        assert await running.solves() == ["cancelled"]
        assert [call.state for call in await running.calls()] == ["ok", "cancelled"]


async def test_cancelled_search_is_settled(sqlite_url: str) -> None:
    """All workers stop, and no hold remains."""
    async with fathom(sqlite_url, held(asyncio.Event(), reply("8"))) as running:
        request = asyncio.create_task(running.solve(SEARCH))
        await running.provider.arrived(2)
        request.cancel()
        await asyncio.wait([request])
        assert running.provider.in_flight == 0
        assert await running.solves() == ["cancelled"]


async def test_cancellation_while_the_tree_is_written_is_not_lost() -> None:
    """Whatever step the client of the tree store is at; a worker that went on would never end."""
    redis = open_redis(None)
    log = TreeLog(redis)
    await log.append(solve_id(), token=1, seq=1, event={})  # the script is loaded
    lost = list[int]()
    for step in range(8):
        writing = asyncio.create_task(log.append(solve_id(), token=1, seq=1, event={}))
        for _ in range(step):
            await asyncio.sleep(0)
        if writing.cancel():
            await asyncio.wait([writing])
            lost += [] if writing.cancelled() else [step]
    await redis.aclose()
    assert lost == []


async def test_cancelled_write_leaves_the_database_to_others(sqlite_url: str) -> None:
    """Not even amid a statement that returns rows does it keep the one writer waiting."""
    async with fathom(sqlite_url, reply("7")) as running:
        database = running.gateway.database
        query = update(KeyRow).values(name="again").returning(KeyRow.id)

        async def work(tx: WriteTx) -> str | None:
            return await tx.scalar(query)

        for step in range(60):
            writing = asyncio.create_task(database.write(work))
            for _ in range(step // 3):
                await asyncio.sleep(0)
            await asyncio.sleep(step % 3 * 0.000_3)
            writing.cancel()
            await asyncio.wait([writing])
            async with asyncio.timeout(5):
                await database.write(work)


async def test_what_is_told_is_what_was_charged_wherever_a_deadline_cuts(sqlite_url: str) -> None:
    """Also where it strikes between an answer and its booking."""

    async def slow(_request: CompletionRequest) -> Answer:
        await asyncio.sleep(0.002)
        return reply("7")

    async with fathom(sqlite_url, slow) as running:
        told = NanoUSD(0)
        for deadline_ms in range(5, 65, 5):
            response = await running.solve(SEARCH, budget={"deadline_ms": deadline_ms})
            document = response.json()
            spent = document["spent_usd"] if response.is_error else document["cost"]["total_usd"]
            told = NanoUSD(told + from_usd(spent))
        assert told == sum(call.cost for call in await running.calls())


async def test_solve_may_be_cancelled_at_any_moment(sqlite_url: str) -> None:
    """Whatever it was doing: the books balance, no hold remains, nothing is left in progress."""
    numbers = itertools.count()

    async def slow(_request: CompletionRequest) -> Answer:
        await asyncio.sleep(0.002)
        return reply(f"{next(numbers)}")

    async with fathom(sqlite_url, slow) as running:
        for moment in range(40):
            request = asyncio.create_task(running.solve(SEARCH if moment % 2 else {}))
            await asyncio.sleep(moment * 0.001)
            request.cancel()
            await asyncio.wait([request])
        for levels in await running.budgets():
            assert levels.reserved == 0
        assert set(await running.solves()) <= {"cancelled", "completed", "incomplete"}


async def test_client_that_leaves_cancels_its_solve(sqlite_url: str) -> None:
    """Over a real connection: nobody would read the answer, so nobody pays for the rest of it."""
    script = by_op({"gate.first": reply("7"), "*": held(asyncio.Event(), reply("8"))})
    async with fathom(sqlite_url, script) as running, serving(running.gateway) as address:
        headers = {"Authorization": f"Bearer {running.account.key}"}
        async with httpx.AsyncClient(base_url=address, headers=headers) as client:
            request = asyncio.create_task(client.post("/v1/solve", json={"input": "2 + 2?"}))
            await running.provider.arrived(2)
            request.cancel()
            await asyncio.wait([request])
        async with asyncio.timeout(5):
            while await running.solves() != ["cancelled"]:  # noqa: ASYNC110 - the server's work
                await asyncio.sleep(0.02)
        assert [call.state for call in await running.calls()] == ["ok", "cancelled"]
        assert running.provider.cancelled == 1
