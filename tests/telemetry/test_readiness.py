"""Whether to send requests here: which part is down, how often it is asked, what draining says."""

import asyncio

from app.telemetry.readiness import Drain, Readiness, Ready


async def fine() -> str | None:
    """A part that answers."""
    return None


async def broken() -> str | None:
    """A part that does not."""
    return "cannot be reached"


async def hanging() -> str | None:
    """A part that never does."""
    await asyncio.sleep(60)
    return None


async def test_a_part_that_is_down_is_named() -> None:
    """And the others are not blamed for it."""
    report = await Readiness({"database": fine, "redis": broken}, Drain()).report()
    assert report.status is Ready.DOWN
    assert report.parts == {"database": "ok", "redis": "down: cannot be reached"}


async def test_a_part_that_hangs_is_down_after_a_second() -> None:
    """A probe that waits for a dead part would be dead too."""
    report = await Readiness({"database": hanging, "redis": fine}, Drain()).report()
    assert report.parts == {"database": "down: no answer in 1 s", "redis": "ok"}


async def test_probes_ask_the_parts_once_a_second() -> None:
    """However many probes there are."""
    asked = 0

    async def count() -> str | None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return None

    readiness = Readiness({"database": count}, Drain())
    reports = await asyncio.gather(*(readiness.report() for _ in range(100)))
    assert {report.status for report in reports} == {Ready.READY}
    assert asked == 1


async def test_a_draining_process_asks_nothing() -> None:
    """It turns traffic away whatever its parts say."""
    drain = Drain()
    readiness = Readiness({"database": fine}, drain)
    assert (await readiness.report()).status is Ready.READY
    drain.begun = True
    assert (await readiness.report()).status is Ready.DRAINING
