"""Work done over and over: it outlasts what fails, says so once, and stops when it is told."""

import asyncio
from collections.abc import Callable

from structlog.testing import capture_logs

from app.db.engine import DatabaseUnavailable
from app.db.repeating import repeat
from app.telemetry.readiness import Drain


async def _repeated(work: Callable[[int, asyncio.Event], bool], drain: Drain | None = None) -> int:
    """Do it, given the how-manieth time it is, until it sets the event; how often it was done."""
    stop, done = asyncio.Event(), 0

    async def once() -> bool:
        nonlocal done
        done += 1
        return work(done, stop)

    async with asyncio.timeout(20):
        await repeat(
            "test", once, every_s=0.001, stop=stop, drain=Drain() if drain is None else drain
        )
    return done


async def test_a_database_that_is_away_is_said_once_and_waited_for() -> None:
    """Ten times away, and then back: two lines, and the work goes on."""

    def work(time: int, stop: asyncio.Event) -> bool:
        if time <= 10:
            raise DatabaseUnavailable
        if time == 12:
            stop.set()
        return False

    with capture_logs() as logged:
        assert await _repeated(work) == 12
    assert [line["event"] for line in logged] == ["repeated_work_fails", "repeated_work_goes_on"]


async def test_work_that_has_more_to_do_is_done_again_at_once() -> None:
    """And still stops when it is told."""

    def work(time: int, stop: asyncio.Event) -> bool:
        if time == 1000:
            stop.set()
        return True

    assert await _repeated(work) == 1000


async def test_nothing_is_begun_while_the_process_drains() -> None:
    """It waits to be told to stop."""
    drain, stop, done = Drain(begun=True), asyncio.Event(), 0

    async def work() -> bool:
        nonlocal done
        done += 1
        return False

    asyncio.get_running_loop().call_later(0.05, stop.set)
    await repeat("test", work, every_s=0.001, stop=stop, drain=drain)
    assert done == 0
