"""Solves in the background that any replica may run, by way of DBOS.

A solve is put into the queue by the transaction that holds its money. The replica whose turn it is
takes it there, with a token of its own, and from then on it is like any that it had accepted: what
it leaves of it, `Recovery` of another goes on with. A workflow that is run again finds that its
solve does not wait any more.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from structlog.contextvars import bound_contextvars

from app.db.engine import Database, DatabaseUnavailable
from app.dispatch.claimed import ClaimTurns
from app.dispatch.dispatcher import refuse_beyond
from app.dispatch.workflows import LOOK_S, WAITING, Workflows, launched
from app.ids import SolveId
from app.ledger.idempotency import IdempotencyKey
from app.ledger.queued import Queued
from app.ledger.refusals import ClaimLost
from app.solve.attempt import HandedOver
from app.solve.leaving import leave
from app.solve.legacy import Legacy
from app.solve.request import SolveRequest
from app.solve.run import Run
from app.solve.running import Running
from app.solve.solver import Solver
from app.telemetry import traces
from app.telemetry.readiness import Drain
from app.tenants.directory import Tenant

FORGETS_EVERY_S: Final = 60.0
"""How often workflows that are long over are deleted."""

log = structlog.get_logger()


class Durable:
    """Puts solves into the queue, and runs those that it is given from there, in their turns.

    At most `most` that it has put there wait or run here, and at most as many run here.
    """

    def __init__(
        self,
        *,
        solver: Solver,
        queued: Queued,
        turns: ClaimTurns,
        running: Running,
        drain: Drain,
        most: int,
    ) -> None:
        self._solver, self._queued, self._turns = solver, queued, turns
        self._running, self._drain, self._most = running, drain, most
        self._admitting = 0
        self._waiting = set[SolveId]()
        self._runs: dict[asyncio.Task[None], Run | None] = {}

    async def begin(
        self,
        tenant: Tenant,
        request: SolveRequest,
        *,
        key: IdempotencyKey | None,
        legacy: Legacy | None = None,
    ) -> Run:
        """Admit the solve, and leave it to whoever takes it; see `Dispatcher`."""
        taken = self._admitting + len(self._waiting) + len(self._runs)
        refuse_beyond(self._most, taken=taken)
        # Before the first wait, or a crowd that comes at once would all find the same place.
        self._admitting += 1
        try:
            run = await self._solver.admit(tenant, request, key=key, legacy=legacy, queue=WAITING)
        finally:
            self._admitting -= 1
        self._waiting.add(run.claim.solve_id)
        return run

    async def run_solve(self, solve_id: SolveId) -> None:
        """Run it to its end, if it still waits; raises nothing, whatever becomes of it."""
        ours = asyncio.current_task()
        assert ours is not None, "called in a task"
        while self._drain.begun:  # noqa: ASYNC110 - it has no event
            # Until cancelled: its workflow is another's as soon as this process is gone.
            await asyncio.sleep(LOOK_S)
        self._runs[ours] = None
        trace = traces.begun()  # the caller's went with its connection
        try:
            with traces.within(trace), bound_contextvars(trace_id=trace.trace_id):
                await self._take_and_run(solve_id, ours)
        except (ClaimLost, DatabaseUnavailable, HandedOver) as error:
            # Somebody else has it, or will: it still waits, or is marked as running.
            reason = type(error).__name__
            log.warning("solve_left_to_others", solve_id=solve_id, reason=reason)
        except Exception:
            # Settled and logged; the others go on.
            log.exception("solve_failed", solve_id=solve_id)
        finally:
            del self._runs[ours]

    async def hand_over(self, *, within_s: float) -> None:
        """See `Dispatcher`; once the process drains. What waits goes on waiting."""
        await leave(self._runs, within_s=within_s)

    async def serve(self, workflows: Workflows) -> None:
        """Say that the queue is served, and see to what workflows have lost; until cancelled.

        Like `Recovery`, it takes nobody for dead who has not had a lease's time to say otherwise.
        """
        beating_since: float | None = None
        clock = asyncio.get_running_loop().time
        forgets_at = clock()
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    await self._queued.beat()
                    beating_since = clock() if beating_since is None else beating_since
                    if clock() - beating_since >= self._queued.lease_s:
                        await workflows.revive(living=await self._queued.living())
                    if clock() >= forgets_at:
                        await workflows.forget()
                        forgets_at = clock() + FORGETS_EVERY_S
                    for lost in await workflows.without(await self._look()):
                        tasks.create_task(self.run_solve(lost))
                except DatabaseUnavailable as error:
                    beating_since = None
                    log.warning("queue_not_looked_after", reason=type(error).__name__)
                except Exception:
                    # DBOS has errors of its own for that, and none may end the process.
                    log.exception("queue_not_looked_after")
                await asyncio.sleep(self._queued.lease_s / 3)

    async def _look(self) -> list[SolveId]:
        ours = set(self._waiting)  # what is put there meanwhile, the query may not have seen
        waiting = await self._queued.waiting()
        self._waiting -= ours.difference(waiting)
        return list(waiting)

    async def _take_and_run(self, solve_id: SolveId, ours: "asyncio.Task[None]") -> None:
        async with AsyncExitStack() as stack:
            # Known to run here before it is taken, or the next heartbeat might claim it.
            with self._running.starting(solve_id):
                claim = await self._queued.take(solve_id)
                self._waiting.discard(solve_id)
                await stack.enter_async_context(self._turns.turn(claim))
                run = await self._solver.resume(claim)
            self._runs[ours] = run
            await self._solver.run(run)


@asynccontextmanager
async def serving(
    database: Database,
    *,
    solver: Solver,
    turns: ClaimTurns,
    running: Running,
    drain: Drain,
    replica: str,
    lease_s: float,
    most: int,
    tasks: asyncio.TaskGroup,
) -> AsyncGenerator[Durable]:
    """The queue, and its solves run here, until the block ends. Raises what `launched` does."""
    queued = Queued(database, queue=WAITING.name, replica=replica, lease_s=lease_s)
    durable = Durable(
        solver=solver,
        queued=queued,
        turns=turns,
        running=running,
        drain=drain,
        most=most,
    )
    # Before anything is put there, or others might take it for left.
    await queued.beat()
    async with launched(
        database.url, executor=replica, most=most, run=durable.run_solve
    ) as workflows:
        looking = tasks.create_task(durable.serve(workflows))
        try:
            yield durable
        finally:
            looking.cancel()
