"""Lines that wait for room in a budget, woken one by one as others of their batch free some."""

import asyncio
from collections import deque

from app.ids import BatchId


class Room:
    """Who waits in this process, by batch; what other processes free is found by trying again."""

    def __init__(self) -> None:
        self._waiting: dict[BatchId, deque[asyncio.Future[None]]] = {}

    async def freed_or(self, batch_id: BatchId, *, after_s: float) -> None:
        """Wait until something was freed and nobody else was woken for it, or so long."""
        mine = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(batch_id, deque())
        line.append(mine)
        try:
            await asyncio.wait([mine], timeout=after_s)
        finally:
            if mine in line:
                line.remove(mine)
            if not line:
                self._waiting.pop(batch_id, None)

    def freed(self, batch_id: BatchId) -> None:
        """One of the batch gave back what it held: wake the one that has waited longest."""
        line = self._waiting.get(batch_id)
        if line:
            line.popleft().set_result(None)
