import asyncio
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis

from app.ids import SolveId, solve_id
from app.store.treelog import (
    COMPRESS_ABOVE_BYTES,
    TTL_S,
    TreeLog,
    TreeLogFenced,
    TreeLogGap,
)
from app.wiring import open_redis
from tests.backends import empty


@pytest.fixture
def solve() -> SolveId:
    """A tree of this test's own."""
    return solve_id()


@pytest.fixture
async def another_client(redis_client: Redis, redis_url: str | None) -> AsyncGenerator[Redis]:
    """A second connection to the same server, where there is one."""
    if redis_url is None or "Fake" in type(redis_client).__name__:
        yield redis_client
        return
    client = open_redis(redis_url)
    yield client
    await client.aclose()


def event(seq: int, **more: object) -> dict[str, object]:
    """An event as the search writes them."""
    return {"kind": "told", "seq": seq} | more


async def append(log: TreeLog, solve: SolveId, *seqs: int, token: int = 1) -> None:
    """Events one after another."""
    for seq in seqs:
        await log.append(solve, token=token, seq=seq, event=event(seq))


async def test_events_are_read_in_the_order_they_were_appended(
    redis_client: Redis, solve: SolveId
) -> None:
    """Complete, and of this tree alone."""
    log = TreeLog(redis_client)
    await append(log, solve, 1, 2, 3)
    await append(log, solve_id(), 1)
    assert await log.read(solve) == [event(1), event(2), event(3)]


async def test_tree_without_a_log_is_empty(redis_client: Redis, solve: SolveId) -> None:
    """Not an error: it is rebuilt from the journal."""
    assert await TreeLog(redis_client).read(solve) == []


@pytest.mark.parametrize("length", [0, COMPRESS_ABOVE_BYTES, 50_000])
async def test_event_is_kept_whatever_its_length(
    redis_client: Redis, solve: SolveId, length: int
) -> None:
    """Long ones are compressed, which a reader does not notice."""
    log = TreeLog(redis_client)
    long = event(1, reason="é" * length)
    await log.append(solve, token=1, seq=1, event=long)
    assert await log.read(solve) == [long]


async def test_log_is_read_from_any_number_on(redis_client: Redis, solve: SolveId) -> None:
    """So that who follows it reads nothing twice."""
    log = TreeLog(redis_client)
    written = [event(seq) for seq in range(1, 13)]
    for seq, one in enumerate(written, start=1):
        await log.append(solve, token=1, seq=seq, event=one)
    for after in range(14):
        assert await log.read(solve, after=after) == written[after:]


async def test_repeated_append_changes_nothing(redis_client: Redis, solve: SolveId) -> None:
    """A lost acknowledgement is answered by sending again."""
    log = TreeLog(redis_client)
    await append(log, solve, 1, 2, 3)
    await append(log, solve, 3, 2, 1)
    assert await log.read(solve) == [event(1), event(2), event(3)]


async def test_gap_is_refused(redis_client: Redis, solve: SolveId) -> None:
    """A log that was lost does not go on as if nothing had happened."""
    log = TreeLog(redis_client)
    with pytest.raises(TreeLogGap):
        await append(log, solve, 2)
    await append(log, solve, 1)
    with pytest.raises(TreeLogGap):
        await append(log, solve, 3)
    assert await log.read(solve) == [event(1)]


async def test_lower_token_is_fenced_once_a_higher_has_written(
    redis_client: Redis, solve: SolveId
) -> None:
    """And nothing of it is kept."""
    log = TreeLog(redis_client)
    await append(log, solve, 1)
    await append(log, solve, 1, 2, token=2)
    for seq in (2, 3, 4):
        with pytest.raises(TreeLogFenced):
            await append(log, solve, seq)
    await append(log, solve, 3, token=2)
    assert len(await log.read(solve)) == 3


async def test_new_owner_writes_the_log_anew(redis_client: Redis, solve: SolveId) -> None:
    """The old one may have appended after the new one had read: nothing of that stays.

    The new process would otherwise go on with a tree that is not the one in the log.
    """
    log = TreeLog(redis_client)
    await append(log, solve, 1)
    for seq in (2, 3, 4):
        await log.append(solve, token=1, seq=seq, event=event(seq, score=0.1))
    with pytest.raises(TreeLogGap):
        await log.append(solve, token=2, seq=2, event=event(2, score=0.9))
    await append(log, solve, 1, token=2)
    await log.append(solve, token=2, seq=2, event=event(2, score=0.9))
    assert await log.read(solve) == [event(1), event(2, score=0.9)]


async def test_two_writers_at_once_make_one_log(
    redis_client: Redis, another_client: Redis, solve: SolveId
) -> None:
    """Every number once, whoever wrote it."""
    logs = TreeLog(redis_client), TreeLog(another_client)

    async def write(log: TreeLog, writer: int) -> int:
        for seq in range(1, 31):
            try:
                await log.append(solve, token=1, seq=seq, event=event(seq, writer=writer))
            except TreeLogFenced:
                return seq
        return 31

    ends = await asyncio.gather(*(write(log, writer) for writer, log in enumerate(logs)))
    found = await logs[0].read(solve)
    assert [one["seq"] for one in found] == list(range(1, len(found) + 1))
    assert len(found) == max(ends) - 1


async def test_append_survives_a_server_that_forgot_its_scripts(
    redis_client: Redis, solve: SolveId
) -> None:
    """As after a restart."""
    log = TreeLog(redis_client)
    await append(log, solve, 1)
    await redis_client.script_flush()
    await append(log, solve, 2)
    assert await log.read(solve) == [event(1), event(2)]


async def test_lost_log_is_a_gap_and_can_be_written_again(
    redis_client: Redis, solve: SolveId
) -> None:
    """From its first event, as it is rebuilt from the journal."""
    log = TreeLog(redis_client)
    await append(log, solve, 1, 2)
    await empty(redis_client)
    assert await log.read(solve) == []
    with pytest.raises(TreeLogGap):
        await append(log, solve, 3)
    await append(log, solve, 1, 2, 3)
    assert len(await log.read(solve)) == 3


async def test_log_expires_a_week_after_its_last_event(redis_client: Redis, solve: SolveId) -> None:
    """All of its keys at once, which are on one node of a cluster."""
    await append(TreeLog(redis_client), solve, 1)
    names = [f"tree:{{{solve}}}:l", f"tree:{{{solve}}}:m"]
    for name in names:
        assert TTL_S - 5 <= await redis_client.ttl(name) <= TTL_S
