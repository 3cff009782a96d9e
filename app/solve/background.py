"""Solves that no client waits for: begun by a request, and run for as long as the gateway lives.

The money is held before the caller is answered, so that what was accepted is in the ledger and
survives this process: what it leaves, by a drain or by dying, the next replica goes on with.
"""

import asyncio

import structlog

from app.db.engine import DatabaseUnavailable
from app.errors import GatewayError
from app.ledger.idempotency import IdempotencyKey
from app.ledger.refusals import ClaimLost
from app.solve.attempt import HandedOver
from app.solve.request import SolveRequest
from app.solve.run import Run
from app.solve.solver import Solver
from app.tenants.directory import Tenant

log = structlog.get_logger()


class BackgroundFull(GatewayError):
    """This process runs as many solves in the background as it may."""


class Background:
    """Runs at most `most` solves at a time, as tasks of a group that outlives their requests."""

    def __init__(self, *, solver: Solver, tasks: asyncio.TaskGroup, most: int) -> None:
        self._solver, self._tasks, self._most = solver, tasks, most
        self._taken = 0
        self._running: dict[asyncio.Task[None], Run] = {}

    async def begin(
        self, tenant: Tenant, request: SolveRequest, *, key: IdempotencyKey | None
    ) -> Run:
        """Admit the solve and leave it to run.

        Raises BackgroundFull, with nothing held, and what `Solver.admit` raises.
        """
        if self._taken >= self._most:
            raise BackgroundFull(f"{self._most} solves run in the background; send it again later")
        # Before the first wait, or a crowd that comes at once would all find the same place.
        self._taken += 1
        try:
            run = await self._solver.admit(tenant, request, key=key)
        except BaseException:
            self._taken -= 1
            raise
        task = self._tasks.create_task(self._run(run))
        self._running[task] = run
        task.add_done_callback(self._forget)
        return run

    async def hand_over(self, *, within_s: float) -> None:
        """Begin no more calls, wait for those in flight, and leave the rest to the next replica.

        A call that has not come back `within_s` seconds is given up, and may be made again.
        """
        for run in self._running.values():
            run.attempts.hand_over()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=within_s)
            for task in late:
                task.cancel()

    async def _run(self, run: Run) -> None:
        try:
            await self._solver.run(run)
        except (ClaimLost, DatabaseUnavailable, HandedOver) as error:
            # Somebody else has it, or will: it is still marked as running.
            reason = type(error).__name__
            log.warning("solve_left_to_others", solve_id=run.claim.solve_id, reason=reason)
        except Exception:
            # Settled and logged; the others go on.
            log.exception("solve_failed", solve_id=run.claim.solve_id)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._taken -= 1
