"""A tree's log that its store has damaged is not believed: the journal knows better."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.ids import SolveId
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, reply
from app.search.codec import decode, encode
from app.search.events import Asked, Told
from app.store.treelog import TreeLog
from app.wiring import open_redis
from tests.backends import skip
from tests.gateway import Json, exact, fathom

SEARCH: Json = {
    "mode": "search",
    "search": {"max_nodes": 8, "patience": 8, "concurrency": 3},
} | exact("none of these")

Damage = Callable[[Redis, SolveId], Awaitable[None]]


def _answers(request: CompletionRequest) -> Answer:
    return reply(f"{int(request.op[1:]) * 7 % 11}")


async def _lose_the_tail(redis: Redis, solve: SolveId) -> None:
    """As a store does that writes to its disk once a second, when its power is cut."""
    events = await TreeLog(redis).read(solve)
    await redis.delete(f"tree:{{{solve}}}:l", f"tree:{{{solve}}}:m")
    log = TreeLog(redis)
    for event in events[:-5]:
        await log.append(solve, token=1, seq=decode(event).seq, event=event)


async def _write_after_the_end(redis: Redis, solve: SolveId) -> None:
    """As a process does that has lost the solve and does not know it yet."""
    log = TreeLog(redis)
    events = [decode(event) for event in await log.read(solve)]
    asked = next(event for event in events if isinstance(event, Asked))
    number = len(events) + 1
    late = replace(asked, seq=number, trial=replace(asked.trial, id=99))
    for event in (late, Told(number + 1, 99, score=0.5, cost=1)):
        await log.append(solve, token=1, seq=event.seq, event=encode(event))


@pytest.mark.parametrize("damage", [_lose_the_tail, _write_after_the_end])
async def test_tree_is_what_the_journal_says(
    sqlite_url: str, redis_url: str | None, damage: Damage
) -> None:
    """The same nodes as before."""
    if redis_url is None:
        skip("no Redis")
    async with fathom(sqlite_url, _answers, redis_url=redis_url) as running:
        solve = await running.solved(SEARCH)
        before = await running.tree(solve)
        async with open_redis(redis_url) as redis:
            whole = await TreeLog(redis).read(SolveId(solve["id"]))
            await damage(redis, SolveId(solve["id"]))
            assert await TreeLog(redis).read(SolveId(solve["id"])) != whole
        assert await running.tree(solve) == before
