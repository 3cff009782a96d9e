"""Whether this process can serve, and which part of it cannot. Nothing here knows the parts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

Check = Callable[[], Awaitable[str | None]]
"""Why a part cannot be used, in words that tell a stranger nothing; None when it can."""

DEADLINE_S: Final = 1.0
FRESH_S: Final = 1.0
OK: Final = "ok"


class Ready(StrEnum):
    """Whether to send requests here."""

    READY = "ok"
    DOWN = "down"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found; `parts` says `ok` or why not, by part."""

    status: Ready
    parts: Mapping[str, str]


@dataclass(slots=True)
class Drain:
    """Whether this process is about to end: what runs ends, and nothing new is begun."""

    begun: bool = False


class Readiness:
    """Asks the parts, at most once a second, however often it is asked."""

    def __init__(self, checks: Mapping[str, Check], drain: Drain) -> None:
        self._checks, self._drain = checks, drain
        self._one_at_a_time = asyncio.Lock()
        self._found: Mapping[str, str] = {}
        self._found_at_s: float | None = None

    @property
    def draining(self) -> bool:
        """Whether traffic is turned away while what is running ends."""
        return self._drain.begun

    async def report(self) -> Report:
        """The state of every part, at most FRESH_S old."""
        if self.draining:
            return Report(Ready.DRAINING, {})
        async with self._one_at_a_time:
            now_s = asyncio.get_running_loop().time()
            if self._found_at_s is None or now_s - self._found_at_s >= FRESH_S:
                self._found = await self._ask()
                self._found_at_s = asyncio.get_running_loop().time()
        fine = all(said == OK for said in self._found.values())
        return Report(Ready.READY if fine else Ready.DOWN, self._found)

    async def _ask(self) -> Mapping[str, str]:
        async with asyncio.TaskGroup() as asking:
            asked = {
                part: asking.create_task(_within_deadline(check))
                for part, check in self._checks.items()
            }
        return {part: task.result() for part, task in asked.items()}


async def _within_deadline(check: Check) -> str:
    try:
        async with asyncio.timeout(DEADLINE_S):
            trouble = await check()
    except TimeoutError:
        return f"down: no answer in {DEADLINE_S:g} s"
    return OK if trouble is None else f"down: {trouble}"
