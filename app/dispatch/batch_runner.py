"""Runs the lines of batches in this process: takes some, runs each in its turn, takes more.

A line's turn has low priority. Its solve is like one in the background: nobody waits for it, and
what a dying process leaves of it another ends.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from app.db.batch import Batch
from app.db.engine import DatabaseUnavailable
from app.dispatch.line_work import LineWork
from app.ids import TenantId
from app.ledger.batch_lines import BatchLines, LineEnd, LinePutOff, OpenBatch, TakenLine
from app.ledger.batches import BatchBook
from app.solve.attempt import HandedOver
from app.solve.leaving import leave
from app.solve.run import Run
from app.telemetry.readiness import Drain
from app.tenants.directory import Directory, Tenant

AHEAD: Final = 2
"""So many times as many lines of a tenant are taken as can run, so that no room waits for one."""

LOOK_S: Final = 1.0
"""How often is looked for what other processes have left or brought."""

log = structlog.get_logger()


class BatchRunner:
    """Runs at most `most` lines at a time, in turns that are fair between tenants."""

    def __init__(
        self,
        *,
        book: BatchBook,
        lines: BatchLines,
        directory: Directory,
        work: LineWork,
        drain: Drain,
        most: int,
    ) -> None:
        self._book, self._lines, self._directory = book, lines, directory
        self._work, self._drain, self._most = work, drain, most
        self._ends = Batch[LineEnd, None](lines.end)
        self._put_off = Batch[LinePutOff, None](lines.put_off)
        self._taken = Counter[TenantId]()
        self._runs: dict[asyncio.Task[None], Run | None] = {}
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look for lines now."""
        self._news.set()

    async def run(self, *, hand_over_s: float) -> None:
        """Run lines until cancelled; then begin no more calls, and wait so long for those made.

        What is left then is for the next replica. Once the process drains no lines are taken.
        """
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    self._news.clear()
                    if self._most and not self._drain.begun:
                        await self._look(tasks)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await self._news.wait()
            except asyncio.CancelledError:
                await leave(self._runs, within_s=hand_over_s)
                raise

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        try:
            for batch in await self._lines.open_batches():
                tenant = await self._directory.holder(batch.key_id)
                if tenant is None:  # its key was revoked: nothing more is bought with it
                    await self._book.cancel(batch.id)
                for line in await self._take(batch):
                    self._taken[batch.tenant_id] += 1
                    task = tasks.create_task(self._follow(batch, tenant, line))
                    self._runs[task] = None
                    task.add_done_callback(partial(self._forget, batch))
        except DatabaseUnavailable as error:
            log.warning("batches_not_looked_for", reason=type(error).__name__)
        except Exception:
            # A bug of batches must not end the process, and with it what others wait for.
            log.exception("batches_not_looked_for")

    async def _take(self, batch: OpenBatch) -> Sequence[TakenLine]:
        room = self._most * AHEAD - self._taken[batch.tenant_id]
        if room < self._most:
            return []  # a transaction takes as long for one line as for many
        return await self._lines.take(batch.id, most=room)

    async def _follow(self, batch: OpenBatch, tenant: Tenant | None, line: TakenLine) -> None:
        ours = asyncio.current_task()
        assert ours is not None, "called in a task"

        def begun(run: Run) -> None:
            self._runs[ours] = run

        with suppress(HandedOver):  # left with our name on it, which is soon nobody's
            end = await self._work.see_through(batch, tenant, line, begun=begun)
            while not await self._is_written(end):  # noqa: ASYNC110 - for a database
                await asyncio.sleep(LOOK_S)

    async def _is_written(self, end: LineEnd | LinePutOff) -> bool:
        try:
            if isinstance(end, LinePutOff):
                await self._put_off.submit(end)
            else:
                await self._ends.submit(end)
        except DatabaseUnavailable:
            return False
        except Exception:
            # As above; found with the name of a dead replica on it, the line is looked at again.
            log.exception("line_not_ended", batch_id=end.line.batch_id, line=end.line.number)
        return True

    def _forget(self, batch: OpenBatch, task: "asyncio.Task[None]") -> None:
        del self._runs[task]
        self._taken[batch.tenant_id] -= 1
        if self._taken[batch.tenant_id] <= self._most:
            self.wake()
