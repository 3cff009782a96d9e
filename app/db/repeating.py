"""Work that a process does over and over beside its requests, and that must outlast bad weather."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.telemetry.readiness import Drain

log = structlog.get_logger()


async def repeat(
    name: str,
    work: Callable[[], Awaitable[bool]],
    *,
    every_s: float,
    stop: asyncio.Event,
    drain: Drain,
) -> None:
    """Do `work` until `stop` is set, and not while the process drains.

    It returns whether there is more to do at once. What it raises, such as that the database is
    away, is logged when it begins and when it is over, and not each time; then it is done again.
    """
    trouble: str | None = None
    while not stop.is_set():
        more, found = False, None
        try:
            more = not drain.begun and await work()
        except Exception as error:
            found = type(error).__name__
            if found != trouble:
                log.exception("repeated_work_fails", work=name, reason=found)
        if trouble is not None and found is None:
            log.warning("repeated_work_goes_on", work=name)
        trouble = found
        if not more:
            await _paused(stop, every_s)


async def _paused(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
