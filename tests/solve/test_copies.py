"""A text that is erased is erased wherever it was copied to."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import select, update

from app.db.clock import Ago
from app.db.engine import WriteTx
from app.ids import SolveId
from app.ledger.batch_tables import BatchLineRow, BatchRow
from app.ledger.tables import Solve
from app.providers.completion import CompletionRequest, ProviderRefused
from app.providers.scripted import Answer, Script, by_op, held, reply
from app.solve.erasure import DETAILS_KEPT_S, erase, erase_tenant
from app.store.treelog import TreeLog
from app.wiring import open_redis
from tests.backends import skip
from tests.dispatch.batching import lines, over, sent
from tests.gateway import Fathom, Json, exact, fathom
from tests.solve.detached import ended
from tests.solve.test_erasing import everything, texts
from tests.solve.test_retention import pass_days, sweep

QUESTION: Final = "What may be asked only once?"
SECRET: Final = "What nobody may keep: 7"
QUOTING: Final = ProviderRefused(f"cannot parse: {QUESTION}", may_have_worked=False)
SEARCH: Final[Json] = exact("391") | {
    "mode": "search",
    "search": {"max_nodes": 3, "concurrency": 1},
}
MORE: Final[Json] = {"search": {"max_nodes": 5}, "budget": {"max_cost_usd": "0.5"}}


def answer(request: CompletionRequest) -> Answer:
    """One call fails, quoting what it was asked; the others answer."""
    return QUOTING if request.op == "t2" else reply(f"{SECRET} {request.op}")


async def resumed(running: Fathom, solve: Json, **more: object) -> Json:
    """A solve that goes on with another."""
    path = f"{solve['links']['self']}/resume"
    headers = {"Idempotency-Key": f"again-{solve['id']}"}
    response = await running.client.post(path, json=MORE | more, headers=headers)
    document: Json = response.raise_for_status().json()
    return document


async def age(running: Fathom, solve: Json) -> None:
    """Let the one solve's texts have been kept long enough."""

    async def work(tx: WriteTx) -> None:
        mine = update(Solve).where(Solve.id == solve["id"])
        await tx.execute(mine.values(erase_at=Ago(1.0)))

    await running.gateway.database.write(work)


async def assert_forgotten(running: Fathom) -> None:
    """No table has a word of it."""
    assert await texts(running) == 0
    found = await everything(running)
    assert QUESTION not in found
    assert "nobody may keep" not in found


@asynccontextmanager
async def family(url: str, redis_url: str | None = None) -> AsyncGenerator[tuple[Fathom, Json]]:
    """A solve, one that goes on with it, one that goes on with that, and a replay of the first."""
    async with fathom(url, answer, redis_url=redis_url) as running:
        first = await running.solved(SEARCH, input=QUESTION)
        second = await resumed(running, first)
        await resumed(running, second, search={"max_nodes": 7})
        replay = await running.client.post("/v1/solve", json={"replay_of": first["id"]})
        assert replay.status_code == 200, replay.text
        assert QUESTION in await everything(running)
        yield running, first


async def test_erasing_a_solve_reaches_those_that_went_on_with_it(database_url: str) -> None:
    """And those that repeated it; what they cost stays."""
    async with family(database_url) as (running, first):
        assert await erase(running.gateway.database, [SolveId(first["id"])]) == 4
        await assert_forgotten(running)


async def test_what_is_kept_long_enough_is_so_wherever_it_is(database_url: str) -> None:
    """A copy has no time of its own."""
    async with family(database_url) as (running, first):
        await age(running, first)
        for _ in range(3):  # a generation at a time
            assert not await sweep(running.gateway.database)
        await assert_forgotten(running)


async def test_erasing_an_heir_leaves_what_it_went_on_with(sqlite_url: str) -> None:
    """It has its own texts, and those of its own heirs."""
    async with fathom(sqlite_url, answer) as running:
        first = await running.solved(SEARCH, input=QUESTION)
        second = await resumed(running, first)
        assert await erase(running.gateway.database, [SolveId(second["id"])]) == 1
        kept = (await running.client.get(first["links"]["self"])).json()
        assert SECRET in kept["output_text"]


async def test_heir_that_runs_keeps_its_copies_to_its_end(database_url: str) -> None:
    """It cannot go on without them, on whatever replica; then they go."""
    gate = asyncio.Event()
    script: Script = by_op({"t5": held(gate, reply("5")), "*": answer})
    async with fathom(database_url, script) as running:
        first = await running.solved(SEARCH, input=QUESTION)
        second = await resumed(running, first, background=True)
        await running.provider.arrived(5)
        assert await erase(running.gateway.database, [SolveId(first["id"])]) == 1
        assert QUESTION in await everything(running)
        gate.set()
        assert (await ended(running.client, second["links"]["self"]))["status"] == "incomplete"
        await sweep(running.gateway.database)
        await assert_forgotten(running)


async def test_tree_store_has_nothing_to_erase(sqlite_url: str, redis_url: str | None) -> None:
    """Not even while the texts are kept."""
    if redis_url is None:
        skip("no Redis that outlives a gateway")
    async with family(sqlite_url, redis_url) as (running, _), open_redis(redis_url) as redis:
        async with running.gateway.database.read() as tx:
            solves = (await tx.scalars(select(Solve.id))).all()
        logs = [await TreeLog(redis).read(SolveId(solve)) for solve in solves]
        assert sum(map(bool, logs)) == 3  # a replay has no log of its own
        assert QUESTION not in str(logs)
        assert "nobody may keep" not in str(logs)


async def refused_line(running: Fathom) -> None:
    """A batch that ended with a line refused, with words that quote it."""
    batch = await sent(running.client, lines(1), cap="0.000001")
    await over(running.client, batch)

    async def work(tx: WriteTx) -> None:
        await tx.execute(update(BatchLineRow).values(error_detail=f"cannot admit: {QUESTION}"))

    await running.gateway.database.write(work)


async def test_why_a_line_was_refused_goes_with_its_tenants_texts(sqlite_url: str) -> None:
    """There is no solve to erase it with."""
    async with fathom(sqlite_url, answer) as running:
        await refused_line(running)
        await erase_tenant(running.gateway.database, running.account.tenant_id)
        await assert_forgotten(running)


async def test_why_a_line_was_refused_is_kept_for_a_while(database_url: str) -> None:
    """For a week after the end of its batch."""
    async with fathom(database_url, answer) as running:
        await refused_line(running)
        await sweep(running.gateway.database)
        assert QUESTION in await everything(running)

        async def work(tx: WriteTx) -> None:
            await tx.execute(update(BatchRow).values(ended_at=Ago(DETAILS_KEPT_S)))

        await running.gateway.database.write(work)
        await sweep(running.gateway.database)
        await assert_forgotten(running)


async def test_replay_forgets_why_recorded_calls_failed(sqlite_url: str) -> None:
    """Its result repeats their lines."""
    async with family(sqlite_url) as (running, _):
        await pass_days(running.gateway.database)
        await sweep(running.gateway.database)
        await assert_forgotten(running)
