"""Turns to run a solve: so many at a time in this process, fair between tenants, never for ever.

Whoever finds room runs at once, without giving way. Who does not waits in a bounded queue, holds no
money meanwhile, and is refused with an honest time to come back where the queue is full. Low
priority (batches) gets the room that nobody else wants, up to a bound of its own.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.dispatch.fair import FairQueue
from app.dispatch.pace import Pace
from app.errors import GatewayError
from app.ids import TenantId
from app.telemetry.queueing import QueueMetrics

WAIT_MAX_S: Final = 60.0
"""The longest that somebody at the end of a connection waits for a turn."""


class Priority(StrEnum):
    """Who goes first: nobody of a lower priority has a turn while one of a higher waits."""

    INTERACTIVE = "interactive"
    LOW = "low"


class QueueFull(GatewayError):
    """As many wait here as may; nothing was held. `retry_after_s` is in whole seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many requests wait here; send it again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most `running` turns at a time, `low` of them of low priority, and `waiting` in line."""

    running: int
    waiting: int
    low: int


class Turns:
    """Gives turns out. Who waits with low priority is bounded by who asks, and not here."""

    def __init__(self, bounds: Bounds, *, metrics: QueueMetrics) -> None:
        self._bounds, self._metrics = bounds, metrics
        self._running = dict.fromkeys(Priority, 0)
        self._queues = {priority: FairQueue[asyncio.Future[None]]() for priority in Priority}
        self._pace = Pace()

    @asynccontextmanager
    async def turn(
        self,
        tenant_id: TenantId,
        *,
        weight: float = 1.0,
        priority: Priority = Priority.INTERACTIVE,
        waits_for_ever: bool = False,
    ) -> AsyncGenerator[None]:
        """Run the block once it is its turn; cancelled before, it leaves the queue.

        Raises QueueFull, at once or after WAIT_MAX_S; never for low priority, nor for one who
        `waits_for_ever`, having been accepted already.
        """
        if self._has_room(priority):
            self._running[priority] += 1
        else:
            patient = waits_for_ever or priority is Priority.LOW
            await self._wait(tenant_id, weight, priority, WAIT_MAX_S if not patient else None)
        try:
            yield
        finally:
            self._running[priority] -= 1
            self._pace.ended(asyncio.get_running_loop().time())
            self._hand_out()

    async def _wait(
        self, tenant_id: TenantId, weight: float, priority: Priority, longest_s: float | None
    ) -> None:
        queue, loop = self._queues[priority], asyncio.get_running_loop()
        if longest_s is not None and len(queue) >= self._bounds.waiting:
            raise self._refusal(len(queue))
        mine, since_s = loop.create_future(), loop.time()
        if not queue:
            self._pace.begin(since_s)
        queue.add(tenant_id, mine, weight=weight)
        self._metrics.waiting(priority, len(queue))
        try:
            async with asyncio.timeout(longest_s):
                await mine
        except BaseException as error:
            if not queue.remove(tenant_id, mine):
                # It was given to us as we left.
                self._running[priority] -= 1
                self._hand_out()
            if isinstance(error, TimeoutError):
                raise self._refusal(len(queue)) from None
            raise
        finally:
            self._metrics.waiting(priority, len(queue))
            self._metrics.waited(priority, loop.time() - since_s)

    def _has_room(self, priority: Priority) -> bool:
        # Nobody is overtaken; and where one of a higher priority waits, there is no room.
        return not self._queues[priority] and self._may_start(priority)

    def _hand_out(self) -> None:
        for priority, queue in self._queues.items():
            while queue and self._may_start(priority):
                mine = queue.take()
                assert mine is not None, "the queue is not empty"
                self._running[priority] += 1
                if not mine.done():
                    mine.set_result(None)

    def _may_start(self, priority: Priority) -> bool:
        if sum(self._running.values()) >= self._bounds.running:
            return False
        return priority is Priority.INTERACTIVE or self._running[Priority.LOW] < self._bounds.low

    def _refusal(self, ahead: int) -> QueueFull:
        self._metrics.refused()
        at_s = asyncio.get_running_loop().time()
        return QueueFull(self._pace.wait_s(ahead, at_s=at_s))
