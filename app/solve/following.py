"""A running solve, watched from any process: its search's log as it grows, until the solve ends.

The log is polled, one short command each time; whether solves have ended is asked of the database
in one query for all who want to know at that moment, however many they are.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

from app.db.batch import Batch
from app.db.engine import DatabaseUnavailable
from app.ids import SolveId
from app.search.events import Event
from app.solve.tree import read_log
from app.store.treelog import TreeLog
from app.telemetry.readiness import Drain

POLL_S: Final = 0.25
QUIET_S: Final = 15.0
FOLLOWED_S: Final = 1800.0
"""Longer than a solve runs, unless its replicas die one after another: then one asks again."""


HaveEnded = Callable[[Sequence[SolveId]], Awaitable[Sequence[bool]]]
"""Of each of so many solves, whether it has ended."""


class Following:
    """Follows solves of any replica."""

    def __init__(self, *, have_ended: HaveEnded, tree_log: TreeLog, drain: Drain) -> None:
        self._tree_log, self._drain = tree_log, drain
        self._ended = Batch[SolveId, bool](have_ended)

    async def follow(
        self, solve_id: SolveId, *, quiet_s: float = QUIET_S
    ) -> AsyncGenerator[Sequence[Event]]:
        """The events of a solve's search in lots, from the first; an empty lot after a quiet while.

        Ends when the solve has, or after FOLLOWED_S, or when this process is about to end.
        """
        clock = asyncio.get_running_loop().time
        began = heard = clock()
        given = 0
        while not self._drain.begun and clock() - began < FOLLOWED_S:
            # Asked before the log is read: what was logged before the end is not missed.
            over = await self._is_over(solve_id)
            lot = await read_log(self._tree_log, solve_id, after=given)
            if lot or clock() - heard >= quiet_s:
                given, heard = given + len(lot), clock()
                yield lot
            if over:
                return
            await asyncio.sleep(POLL_S)

    async def _is_over(self, solve_id: SolveId) -> bool:
        try:
            return await self._ended.submit(solve_id)
        except DatabaseUnavailable:
            return False  # nobody can end a solve now
