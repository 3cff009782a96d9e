"""Solves that no client waits for: begun by a request, and run for as long as the gateway lives.

The money is held before the caller is answered, so that what was accepted is in the ledger and
survives this process: what it leaves, by a drain or by dying, the next replica goes on with.
"""

import asyncio

import structlog

from app.db.engine import DatabaseUnavailable
from app.dispatch.dispatcher import refuse_beyond
from app.dispatch.inline import Weights
from app.dispatch.turns import Turns
from app.ledger.idempotency import IdempotencyKey
from app.ledger.refusals import ClaimLost
from app.solve.attempt import HandedOver
from app.solve.leaving import leave
from app.solve.legacy import Legacy
from app.solve.request import SolveRequest
from app.solve.run import Run
from app.solve.solver import Solver
from app.tenants.directory import Tenant

log = structlog.get_logger()


class Background:
    """Has at most `most` solves at a time, as tasks of a group that outlives their requests.

    Each runs in its turn; its money is held before, for the caller was told that it will run.
    """

    def __init__(
        self,
        *,
        solver: Solver,
        turns: Turns,
        weights: Weights,
        tasks: asyncio.TaskGroup,
        most: int,
    ) -> None:
        self._solver, self._turns, self._weights = solver, turns, weights
        self._tasks, self._most = tasks, most
        self._taken = 0
        self._running: dict[asyncio.Task[None], Run] = {}

    async def begin(
        self,
        tenant: Tenant,
        request: SolveRequest,
        *,
        key: IdempotencyKey | None,
        legacy: Legacy | None = None,
    ) -> Run:
        """Admit the solve and leave it to run here; see `Dispatcher`."""
        refuse_beyond(self._most, taken=self._taken)
        # Before the first wait, or a crowd that comes at once would all find the same place.
        self._taken += 1
        try:
            run = await self._solver.admit(tenant, request, key=key, legacy=legacy)
        except BaseException:
            self._taken -= 1
            raise
        task = self._tasks.create_task(self._run(run, tenant))
        self._running[task] = run
        task.add_done_callback(self._forget)
        return run

    async def hand_over(self, *, within_s: float) -> None:
        """See `Dispatcher`."""
        await leave(self._running, within_s=within_s)

    async def _run(self, run: Run, tenant: Tenant) -> None:
        weight = self._weights.get(tenant.policy, 1.0)
        try:
            async with self._turns.turn(tenant.id, weight=weight, waits_for_ever=True):
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
