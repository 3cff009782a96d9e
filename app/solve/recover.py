"""Finishing what nobody runs any more: claim it, replay it, go on, pay for nothing twice.

A resumed solve runs through the same code as a new one. Calls that were answered are taken from the
journal, the search is replayed from its log, and only what never came back is asked again. What
cannot be resumed, for a bug is in the way each time, is not tried for ever: see `giving_up`.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

import structlog
from structlog.contextvars import bound_contextvars

from app.db.engine import DatabaseUnavailable
from app.errors import GatewayError
from app.ledger.leases import Leases
from app.ledger.openings import Claim
from app.ledger.refusals import ClaimLost
from app.solve.attempt import HandedOver
from app.solve.giving_up import GivingUp
from app.solve.leaving import leave
from app.solve.run import Run
from app.solve.running import Running
from app.solve.solver import Solver
from app.telemetry import traces
from app.telemetry.readiness import Drain

AT_ONCE_MAX: Final = 8
"""Solves taken over at a time: what died on one replica must not drown the next."""

log = structlog.get_logger()


class Recovery:
    """Keeps this replica's lease; finishes the solves of those who lost theirs, and its own lost.

    Each in its `turn`, beside those that came here by themselves.

    With each beat it also learns which of its own solves somebody else was asked to cancel.
    """

    def __init__(
        self,
        *,
        solver: Solver,
        leases: Leases,
        running: Running,
        giving_up: GivingUp,
        turn: Callable[[Claim], AbstractAsyncContextManager[None]],
        drain: Drain,
    ) -> None:
        self._solver, self._leases, self._running = solver, leases, running
        self._giving_up, self._turn, self._drain = giving_up, turn, drain
        self._runs: dict[asyncio.Task[None], Run | None] = {}

    async def run(self) -> None:
        """Beat, and after a full lease of beating begin to claim; until cancelled.

        A replica that has just come back cannot know who else is about to: whoever lives gets a
        lease's time to say so first. One that is about to end claims no more.
        """
        beating_since: float | None = None
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as taken:
            while True:
                try:
                    await self._leases.beat()
                    self._running.stop(await self._leases.to_cancel())
                    beating_since = clock() if beating_since is None else beating_since
                    waited = clock() - beating_since >= self._leases.lease_s
                    if waited and not self._drain.begun:
                        claims = await self._leases.claim(most=AT_ONCE_MAX, running=self._running)
                        for claim in claims:
                            task = taken.create_task(self._finish(claim))
                            self._runs[task] = None
                            task.add_done_callback(self._runs.pop)
                except DatabaseUnavailable:
                    beating_since = None
                await asyncio.sleep(self._leases.lease_s / 3)

    async def hand_over(self, *, within_s: float) -> None:
        """Begin no more calls, and leave what was taken over to the next replica.

        A call that has not come back within so many seconds is given up.
        """
        await leave(self._runs, within_s=within_s)

    async def _finish(self, claim: Claim) -> None:
        trace = traces.begun()  # the caller's went with its connection
        with traces.within(trace), bound_contextvars(trace_id=trace.trace_id):
            try:
                await self._resume(claim)
            except (ClaimLost, DatabaseUnavailable, HandedOver) as error:
                _left_to_others(claim, error)
            except Exception:
                # One solve that cannot be resumed must not keep the others from it.
                log.exception("solve_not_resumed", solve_id=claim.solve_id)
                await self._count(claim)

    async def _resume(self, claim: Claim) -> None:
        ours = asyncio.current_task()
        assert ours is not None, "called in a task"
        async with AsyncExitStack() as stack:
            # Known to run here while it waits, or the next heartbeat would claim it again.
            with self._running.starting(claim.solve_id):
                await stack.enter_async_context(self._turn(claim))
                run = await self._solver.resume(claim)
            self._runs[ours] = run
            await self._solver.run(run)

    async def _count(self, claim: Claim) -> None:
        try:
            await self._giving_up.failed(claim)
        except (ClaimLost, DatabaseUnavailable) as error:
            _left_to_others(claim, error)
        except Exception:
            # As above: it is tried again with the next claim.
            log.exception("solve_not_given_up", solve_id=claim.solve_id)


def _left_to_others(claim: Claim, error: GatewayError) -> None:
    # Somebody else has it, or will: it is still marked as running.
    reason = type(error).__name__
    log.warning("solve_not_resumed", solve_id=claim.solve_id, reason=reason)
