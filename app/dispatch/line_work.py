"""One line of a batch, seen through to its end.

Its solve has had its id since the batch was made, so the ledger opens it once, whoever tries. A
line that finds it opened already waits for its end, in whatever process that comes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import structlog
from structlog.contextvars import bound_contextvars

from app.accounts import account_of
from app.db.engine import DatabaseUnavailable, uninterrupted
from app.dispatch.inline import Weights
from app.dispatch.room import Room
from app.dispatch.turns import Priority, Turns
from app.errors import GatewayError
from app.ledger.batch_lines import BatchLines, LineEnd, LinePutOff, OpenBatch, TakenLine
from app.ledger.batches import CANCELLED_KIND
from app.ledger.ledger import Ledger
from app.ledger.levels import BudgetStatus
from app.ledger.records import Records
from app.ledger.refusals import (
    AlreadyAsked,
    BudgetExceeded,
    ClaimLost,
    LadderReached,
    RateLimited,
)
from app.money import NanoUSD
from app.solve.attempt import HandedOver
from app.solve.outcome import InternalError
from app.solve.report import Status, solved_from
from app.solve.request import request_from
from app.solve.run import Run
from app.solve.solver import Solver
from app.solve.start import Line
from app.telemetry import traces
from app.tenants.directory import Tenant

PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 4.0
"""How long a line waits before it is tried again, unless it is woken; each time twice as long."""

WELL: Final = (Status.COMPLETED, Status.INCOMPLETE)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LineWork:
    """What runs a line."""

    solver: Solver
    ledger: Ledger
    records: Records
    lines: BatchLines
    turns: Turns
    weights: Weights
    room: Room = field(default_factory=Room)

    async def see_through(
        self,
        batch: OpenBatch,
        tenant: Tenant | None,
        line: TakenLine,
        *,
        begun: Callable[[Run], None],
    ) -> LineEnd | LinePutOff:
        """How the line ended; `begun` is told of its run. A `tenant` of None may buy nothing more.

        Or until when it is put off: for a budget that has room again before the batch's time is up.

        Raises HandedOver where another process goes on with it. Cancelled, it leaves what was
        opened for the next replica, too.
        """
        trace, pause_s = traces.begun(), PAUSE_S
        with traces.within(trace), bound_contextvars(trace_id=trace.trace_id, batch_id=batch.id):
            while True:
                try:
                    end = await self._try(batch, tenant, line, begun)
                    if end is not None:
                        return end
                except HandedOver:
                    raise
                except (AlreadyAsked, DatabaseUnavailable, ClaimLost) as error:
                    # Its solve may be there: from here on it is looked for first.
                    line = replace(line, again=True)
                    reason = type(error).__name__
                    log.info("line_waits", solve_id=line.solve_id, reason=reason)
                except GatewayError as refusal:
                    return _refused(line, refusal)
                except Exception:
                    log.exception("line_failed", solve_id=line.solve_id)
                    if not await self._has_begun(batch, line):
                        return _refused(line, InternalError("the gateway failed"))
                    # Settled, as a rule; else somebody ends it. The others go on.
                    line = replace(line, again=True)
                await self.room.freed_or(batch.id, after_s=pause_s)
                pause_s = min(PAUSE_MAX_S, 2 * pause_s)

    async def _try(
        self,
        batch: OpenBatch,
        tenant: Tenant | None,
        line: TakenLine,
        begun: Callable[[Run], None],
    ) -> LineEnd | LinePutOff | None:
        """How it ended, or is put off; None where it is to be tried again here and soon."""
        found = await self.records.solve(batch.tenant_id, line.solve_id) if line.again else None
        if found is not None:
            ended = found.result
            return None if ended is None else _ended(line, solved_from(ended).status)
        if tenant is None:
            return LineEnd(line, is_well=False, error_kind=CANCELLED_KIND)
        try:
            return await self._run(tenant, line, begun)
        except RateLimited as refusal:
            return None if refusal.passes else _refused(line, refusal)
        except (BudgetExceeded, LadderReached) as refusal:
            return await self._wait(batch, tenant, line, refusal)

    async def _has_begun(self, batch: OpenBatch, line: TakenLine) -> bool:
        """Whether its solve is there; where nobody can tell it may be."""
        try:
            return await self.records.solve(batch.tenant_id, line.solve_id) is not None
        except DatabaseUnavailable:
            return True

    async def _run(self, tenant: Tenant, line: TakenLine, begun: Callable[[Run], None]) -> LineEnd:
        weight = self.weights.get(tenant.policy, 1.0)
        async with self.turns.turn(tenant.id, weight=weight, priority=Priority.LOW):
            over = await self.lines.over(line.batch_id)
            if over is not None:
                return LineEnd(line, is_well=False, error_kind=over)
            request = request_from(msgspec.json.decode(line.request))
            place = Line(line.batch_id, line.solve_id)
            # Opened and then cancelled, it would be settled as cancelled, and its id used up.
            run = await uninterrupted(self.solver.admit(tenant, request, line=place))
            begun(run)
            try:
                solved, _ = await self.solver.run(run)
            finally:
                self.room.freed(line.batch_id)
        return _ended(line, solved.status)

    async def _wait(
        self,
        batch: OpenBatch,
        tenant: Tenant,
        line: TakenLine,
        refusal: BudgetExceeded | LadderReached,
    ) -> LineEnd | LinePutOff | None:
        """What becomes of a line that a budget refuses.

        What is held may be given back, and the line is tried again. What is posted never is: there
        it waits for the budget's next period, if that begins in time, and is refused otherwise.
        """
        if refusal.scope == "request":
            return _refused(line, refusal)
        asked = request_from(msgspec.json.decode(line.request))
        account = account_of(tenant, session=asked.session, batch=line.batch_id)
        full = [
            level
            for level in await self.ledger.budgets(account)
            if not _fits(replace(level, reserved=NanoUSD(0)), refusal)
        ]
        if not full:
            return None
        until = max(level.period_end for level in full)
        anew = (replace(level, posted=NanoUSD(0), reserved=NanoUSD(0)) for level in full)
        if until < batch.expires_at and all(_fits(level, refusal) for level in anew):
            return LinePutOff(line, until)
        return _refused(line, refusal)


def _fits(level: BudgetStatus, refusal: BudgetExceeded | LadderReached) -> bool:
    """Whether a budget that stands like this would not refuse what was refused."""
    if isinstance(refusal, LadderReached):
        return level.ladder is None
    return refusal.asked <= level.available


def _ended(line: TakenLine, status: Status) -> LineEnd:
    return LineEnd(line, is_well=status in WELL)


def _refused(line: TakenLine, refusal: GatewayError) -> LineEnd:
    kind = type(refusal).__name__
    return LineEnd(line, is_well=False, error_kind=kind, error_detail=str(refusal))
