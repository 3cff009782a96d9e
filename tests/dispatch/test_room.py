"""Lines that wait for room: one is woken for each that frees some, the longest waiting first."""

import asyncio

from app.dispatch.room import Room
from app.ids import BatchId

MONDAY, TUESDAY = BatchId("monday"), BatchId("tuesday")


async def test_one_is_woken_for_each_that_frees_room() -> None:
    """In order, of the same batch; others go on waiting."""
    room, woken = Room(), list[str]()

    async def wait(name: str, batch: BatchId) -> None:
        await room.freed_or(batch, after_s=60.0)
        woken.append(name)

    async with asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(wait(name, batch))
            for name, batch in (("a", MONDAY), ("b", MONDAY), ("c", TUESDAY))
        ]
        await asyncio.sleep(0)
        for freed, expected in ((MONDAY, ["a"]), (MONDAY, ["a", "b"]), (MONDAY, ["a", "b"])):
            room.freed(freed)
            for _ in range(5):
                await asyncio.sleep(0)
            assert woken == expected
        waiting[2].cancel()
    room.freed(TUESDAY)


async def test_wait_is_bounded() -> None:
    """What another process frees nobody here is woken for."""
    await Room().freed_or(MONDAY, after_s=0.001)
