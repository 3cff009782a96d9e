"""Turns: room is taken at once, what waits is bounded and fair, and nobody's place is lost."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.dispatch.turns import Bounds, Priority, QueueFull, Turns
from app.ids import TenantId
from app.telemetry.queueing import QueueMetrics

A, B = TenantId("a"), TenantId("b")


class Floor:
    """Who has had a turn, in order; each ends when it is told to."""

    def __init__(self, *, running: int = 1, waiting: int = 100, low: int = 1) -> None:
        self.registry = CollectorRegistry()
        bounds = Bounds(running=running, waiting=waiting, low=low)
        self.turns = Turns(bounds, metrics=QueueMetrics(self.registry))
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    def work(
        self, name: str, tenant: TenantId = A, priority: Priority = Priority.INTERACTIVE
    ) -> "asyncio.Task[None]":
        """One that wants a turn."""
        self._ends[name] = asyncio.Event()
        return asyncio.create_task(self._work(name, tenant, priority))

    async def end(self, name: str) -> None:
        """Let its turn end, and whoever is next begin."""
        self.let_end(name)
        await settle()

    def let_end(self, name: str) -> None:
        """Let its turn end as soon as it is looked at."""
        self._ends[name].set()

    async def _work(self, name: str, tenant: TenantId, priority: Priority) -> None:
        async with self.turns.turn(tenant, priority=priority):
            self.begun.append(name)
            await self._ends[name].wait()

    def metric(self, name: str) -> float:
        """The value of a series."""
        for line in generate_latest(self.registry).decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        raise KeyError(name)


async def settle() -> None:
    """Let every task go as far as it can: nothing here waits for anything outside the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_room_is_taken_without_giving_way() -> None:
    """Not one step of the loop: an unloaded gateway pays nothing."""
    floor = Floor(running=2)
    others = 0

    def other() -> None:
        nonlocal others
        others += 1

    asyncio.get_running_loop().call_soon(other)
    async with floor.turns.turn(A), floor.turns.turn(B):
        assert others == 0


async def test_turns_are_bounded_and_fair() -> None:
    """One at a time; the other tenant's only request is not behind all of the crowd's."""
    floor = Floor()
    tasks = [floor.work(f"a{n}") for n in range(4)]
    await settle()
    tasks.append(floor.work("b0", B))
    await settle()
    assert floor.begun == ["a0"]
    assert floor.metric('fathom_queue_depth{priority="interactive"}') == 4
    for _ in range(5):
        await floor.end(floor.begun[-1])
    assert floor.begun == ["a0", "a1", "b0", "a2", "a3"]
    assert floor.metric('fathom_queue_depth{priority="interactive"}') == 0
    assert floor.metric('fathom_queue_wait_seconds_count{priority="interactive"}') == 4
    await asyncio.gather(*tasks)


async def test_full_queue_refuses_at_once() -> None:
    """With a time to come back; a place that is left is taken again."""
    floor = Floor(waiting=1)
    first, second = floor.work("first"), floor.work("second")
    await settle()
    with pytest.raises(QueueFull) as refusal:
        await floor.work("third")
    assert 1 <= refusal.value.retry_after_s <= 60
    assert floor.metric("fathom_queue_refused_total") == 1
    await floor.end("first")
    await floor.end("second")
    await asyncio.gather(first, second)
    async with floor.turns.turn(B):
        assert floor.begun == ["first", "second"]


async def _wait_cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_that_leaves_leaves_the_queue() -> None:
    """Its place is free, and its turn never comes."""
    floor = Floor(waiting=1)
    first, second = floor.work("first"), floor.work("second")
    await settle()
    await _wait_cancelled(second)
    third = floor.work("third")
    await floor.end("first")
    await floor.end("third")
    await asyncio.gather(first, third)
    assert floor.begun == ["first", "third"]


async def test_turn_given_to_one_that_leaves_goes_to_the_next() -> None:
    """However close the two are: the turn is handed out and its taker cancelled in one step."""
    floor = Floor()
    first, second, third = (floor.work(name) for name in ("first", "second", "third"))
    await settle()
    floor.let_end("first")
    while not first.done():  # noqa: ASYNC110 - counted in steps of the loop
        await asyncio.sleep(0)
    await _wait_cancelled(second)
    await settle()
    assert floor.begun == ["first", "third"]
    await floor.end("third")
    await third


async def test_low_priority_has_only_room_that_nobody_wants() -> None:
    """Never more than its bound, and never before one who waits at the end of a connection."""
    floor = Floor(running=2, low=1)
    low = Priority.LOW
    tasks = [floor.work("low0", B, low), floor.work("low1", B, low), floor.work("a0")]
    await settle()
    assert floor.begun == ["low0", "a0"]
    tasks.append(floor.work("a1"))
    await settle()
    assert floor.begun == ["low0", "a0"]
    await floor.end("low0")
    assert floor.begun == ["low0", "a0", "a1"]
    await floor.end("a0")
    assert floor.begun == ["low0", "a0", "a1", "low1"]
    await floor.end("a1")
    await floor.end("low1")
    await asyncio.gather(*tasks)


async def test_low_priority_is_never_refused() -> None:
    """Who asks for it bounds how much."""
    floor = Floor(waiting=0, low=1)
    tasks = [floor.work(f"low{n}", B, Priority.LOW) for n in range(3)]
    await settle()
    for name in ("low0", "low1", "low2"):
        await floor.end(name)
    await asyncio.gather(*tasks)
    assert floor.begun == ["low0", "low1", "low2"]


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_turn_ends_however_its_block_does(how: str) -> None:
    """A place lost for good would be missed for ever."""
    floor = Floor()

    async def fails() -> None:
        async with floor.turns.turn(A):
            if how == "fails":
                raise KeyError
            await asyncio.sleep(60)

    for _ in range(3):
        task = asyncio.create_task(fails())
        await settle()
        task.cancel()
        with pytest.raises((KeyError, asyncio.CancelledError)):
            await task
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(floor.turns.turn(B))
