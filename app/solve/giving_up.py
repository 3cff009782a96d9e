"""Ends a solve that nobody can go on with: each time that it is taken up, its run fails by a bug.

It would be claimed for ever, and keep what it holds. So every such failure is put on record, and
the last of too many in a row ends it as failed. An answer between two of them begins the count
anew; replicas that died over it are not counted. Nothing of the stored request is taken for granted
here, for it may be what the run fails over.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from app.errors import GatewayError
from app.ids import TenantId
from app.ledger.endings import Ending
from app.ledger.failed_claims import FailedClaims
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.records import CallRecord, Records, SolveRecord
from app.solve.notify import notices
from app.solve.past import line_of
from app.solve.report import (
    ErrorFacts,
    LineageFacts,
    Solved,
    Status,
    TimingFacts,
    without_texts,
)
from app.solve.request import Webhook, to_document
from app.solve.tally import Tally

FAILURES_MAX: Final = 3
"""In a row, each by a claim of its own. Claims are made with heartbeats, three a lease."""

DAY_S: Final = 86_400.0
KEPT_DAYS: Final = 7

T = TypeVar("T")

log = structlog.get_logger()


class GivenUp(GatewayError):
    """The gateway could not go on with the solve, however often it tried."""


class GivingUp:
    """Counts failures to go on with solves, and ends those that have had too many."""

    def __init__(
        self, *, ledger: Ledger, records: Records, claims: FailedClaims, tally: Tally
    ) -> None:
        self._ledger, self._records, self._claims = ledger, records, claims
        self._tally = tally

    async def failed(self, claim: Claim) -> None:
        """A bug ended this claim, and may have left its solve running; end that, if it is enough.

        Raises ClaimLost where another process has taken it over.
        """
        failures = await self._claims.note(claim)
        if failures < FAILURES_MAX:
            return
        tenant_id = claim.account.tenant_id
        record = await self._records.solve(tenant_id, claim.solve_id)
        assert record is not None, "a claim names a solve"
        # What it had in flight was closed as it was claimed.
        calls = await self._records.calls(claim.solve_id)
        solved = _solved(record, calls, failures)
        await self._ledger.finish(claim, _ending(record, solved, tenant_id))
        self._tally.solved(solved, tenant_id=tenant_id)
        log.error("solve_given_up", solve_id=claim.solve_id, failures=failures)


def _solved(record: SolveRecord, calls: Sequence[CallRecord], failures: int) -> Solved:
    asked, now_s = record.request or {}, time.time()
    why = GivenUp(f"the gateway could not go on with it {failures} times in a row")
    return Solved(
        id=record.id,
        created_at=int(record.created_at.timestamp()),
        completed_at=int(now_s),
        status=Status.FAILED,
        incomplete_reason=None,
        error=ErrorFacts(type(why).__name__, str(why)),
        stop_reason=None,
        decision=None,
        confidence=None,
        search=None,
        evaluation=None,
        calls=tuple(map(line_of, calls)),
        cap=record.cap,
        limited_by="request",
        single_baseline=None,
        strong_baseline=None,
        timing=TimingFacts(None, None, (now_s - record.created_at.timestamp()) * 1000),
        lineage=LineageFacts((), (), None, _read(asked, "seed", int) or 0),
        metadata=_read(asked, "metadata", dict[str, str]) or {},
        resumed_from=record.resumed_from,
    )


def _ending(record: SolveRecord, solved: Solved, tenant_id: TenantId) -> Ending:
    asked, planned = record.request or {}, record.plan or {}
    keeps, days = _read(asked, "store", bool) is not False, _read(planned, "texts_days", int)
    return Ending(
        state=solved.status,
        route=None,
        result=to_document(solved if keeps else without_texts(solved)),
        texts={},
        erase=not keeps,
        keep_s=(KEPT_DAYS if days is None else days) * DAY_S,
        notices=notices(_read(asked, "webhook", Webhook), solved, tenant_id=tenant_id),
    )


def _read(document: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(document.get(name), kind)
    except msgspec.ValidationError:
        return None
