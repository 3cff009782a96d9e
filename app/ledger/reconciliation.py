"""A provider's own report against the books: what waited in suspense is settled, by what is known.

The tenants' bills are final. What was charged beyond what was booked is the operator's loss, what
was charged less is a gain, and a tenant is given back of it only where the call is known, by a
refund. A report speaks for all keys of its provider; of two about the same the later stands. Those
of one provider are imported one at a time, by whichever processes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.db.clock import Clock, now
from app.db.engine import Database, ReadTx, WriteTx
from app.db.locks import alone
from app.errors import InvalidRequest
from app.ids import uuid7
from app.ledger import reconciled_facts as facts
from app.ledger.finance_tables import ProviderReport, ProviderReportLine
from app.ledger.matching import Comparison, Matched, Rest, compare
from app.ledger.postings import (
    GAIN,
    PLATFORM_LOSS,
    CallState,
    Posting,
    difference_postings,
    provider_account,
    settled_postings,
)
from app.ledger.provider_reports import ReportRow, hour_of
from app.ledger.report_lines import ReportLine, lines_of
from app.ledger.tables import Call, Correction, Entry
from app.money import NanoUSD

RECONCILIATION: Final = "reconciliation"

_POST: Final = insert(Entry).values(posted_at=Clock())
_NOTE: Final = insert(Correction).values(posted_at=Clock(), kind=RECONCILIATION)


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it was read. `covered` is the span of which it tells everything, if any."""

    provider: str
    name: str
    content: bytes
    rows: Sequence[ReportRow]
    covered: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What an import came to, in nano-dollars; `repeated` where the file had been imported before.

    `waiting` is what is still in suspense for calls of this provider.
    """

    report_id: str
    repeated: bool
    lines: Sequence[ReportLine]
    loss: NanoUSD
    gain: NanoUSD
    waiting: NanoUSD


class Reconciliation:
    """Imports reports, each file once."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def run(self, report: Report) -> Reconciled:
        """Compare a report with the books and post the differences, all or nothing.

        Raises InvalidRequest for an empty report, one of a time in which calls are still open, and
        one that tells by the hour what another told by request, or the reverse.
        """
        if not report.rows:
            raise InvalidRequest("report", "has no row")
        sha256 = hashlib.sha256(report.content).hexdigest()

        async def work(tx: WriteTx) -> Reconciled:
            # Of a charge without a call nothing else is locked, and two reports may both tell it.
            await alone(tx, f"reconciliation of {report.provider}")
            made = f"rep_{uuid7().hex}"
            noted = await _note(tx, report, made, sha256)
            if noted != made:
                return await _told(tx, report.provider, noted, repeated=True)
            await _check_alike(tx, report, made)
            await _check_open(tx, report)
            calls = await facts.booked(tx, report.provider, report.rows, report.covered)
            before = await facts.bucket_differences(
                tx, report.provider, report.rows, calls, report.covered
            )
            found = compare(report.rows, calls, covered=report.covered, before=before)
            await _settle(tx, report.provider, made, found)
            return await _told(tx, report.provider, made, repeated=False)

        return await self._db.write(work)


async def _note(tx: WriteTx, report: Report, report_id: str, sha256: str) -> str:
    """Put the import on record; the id of the one that the file had before, if it had one."""
    instants = [row.at for row in report.rows if row.at is not None]
    hours = [hour_of(at) for at in (*instants, *(report.covered or ()))]
    first, last = (min(hours), max(hours)) if hours else (await now(tx),) * 2
    row = upsert(ProviderReport).values(
        id=report_id,
        provider=report.provider,
        sha256=sha256,
        name=report.name,
        by_request=any(row.request_id is not None for row in report.rows),
        first_at=first,
        last_at=last,
        imported_at=Clock(),
    )
    await tx.execute(row.on_conflict_do_nothing())
    noted = select(ProviderReport.id).where(
        ProviderReport.provider == report.provider, ProviderReport.sha256 == sha256
    )
    return (await tx.execute(noted)).scalar_one()


async def _check_alike(tx: ReadTx, report: Report, report_id: str) -> None:
    """What was told by request and is told again by the hour would be counted twice."""
    this, other = aliased(ProviderReport), aliased(ProviderReport)
    query = (
        select(other.name)
        .join(this, and_(this.id == report_id, other.provider == this.provider))
        .where(other.by_request != this.by_request)
        .where(other.first_at <= this.last_at, other.last_at >= this.first_at)
    )
    if (clash := await tx.scalar(query.limit(1))) is not None:
        raise InvalidRequest("report", f"{clash!r} told of that time, by request or hour: go on so")


async def _check_open(tx: ReadTx, report: Report) -> None:
    """A call that is still open may be in the report, and cannot be compared with it yet."""
    span = facts.span_of(report.rows, report.covered)
    if span is None:
        return
    query = select(func.count()).where(
        Call.provider == report.provider,
        Call.state == CallState.INTENT,
        Call.started_at >= span[0],
        Call.started_at < span[1],
    )
    if count := await tx.scalar(query):
        raise InvalidRequest("report", f"{count} calls of that time are open: import it later")


async def _settle(tx: WriteTx, provider: str, report_id: str, found: Comparison) -> None:
    """Post what a comparison found, and remember which calls were in it."""
    corrections: list[dict[str, object]] = []
    entries: list[dict[str, object]] = []
    calls = [one.call for one in found.matched] + [c for rest in found.rests for c in rest.calls]
    for call in calls:
        about: dict[str, object] = {"call_id": call.call_id, "correction_id": None}
        about["solve_id"] = call.solve_id
        entries += _rows(about, settled_postings(suspended=call.suspended, provider=provider))
    for one in found.parts:
        if not one.difference:
            continue
        row = _correction(provider, report_id, one)
        corrections.append(row)
        about = {"call_id": None, "correction_id": row["id"], "solve_id": row["solve_id"]}
        made = difference_postings(RECONCILIATION, one.difference, provider=provider)
        entries += _rows(about, made)
    if corrections:
        await tx.execute(_NOTE, corrections)
    if entries:
        await tx.execute(_POST, entries)
    for lot in facts.lots([call.call_id for call in calls]):
        await tx.execute(update(Call).where(Call.id.in_(lot)).values(reconciled_at=Clock()))
    rows = [{"report_id": report_id} | asdict(line) for line in lines_of(found)]
    if rows:
        await tx.execute(insert(ProviderReportLine), rows)


def _rows(about: Mapping[str, object], made: Sequence[Posting]) -> list[dict[str, object]]:
    return [
        {
            "id": f"ent_{uuid7().hex}",
            **about,
            "kind": posting.kind,
            "account": posting.account,
            "amount": posting.amount,
        }
        for posting in made
    ]


def _correction(provider: str, report_id: str, one: Matched | Rest) -> dict[str, object]:
    """Why a difference was posted: of a call, or of all that nothing tells apart in an hour."""
    call = one.call if isinstance(one, Matched) else None
    subject = facts.subject_of(one.bucket) if isinstance(one, Rest) else one.call.call_id
    is_unknown = isinstance(one, Rest) and one.is_unknown
    return {
        "id": f"cor_{uuid7().hex}",
        "account": provider_account(provider),
        "reference": report_id,
        "subject": subject,
        "solve_id": None if call is None else call.solve_id,
        "call_id": None if call is None else call.call_id,
        "reason": "charged, and no call of ours" if is_unknown else "charged otherwise than booked",
    }


async def _told(tx: ReadTx, provider: str, report_id: str, *, repeated: bool) -> Reconciled:
    lines = await tx.execute(
        select(
            ProviderReportLine.number,
            ProviderReportLine.key,
            ProviderReportLine.model,
            ProviderReportLine.hour,
            ProviderReportLine.rows,
            ProviderReportLine.calls,
            ProviderReportLine.reported,
            ProviderReportLine.known,
            ProviderReportLine.suspended,
            ProviderReportLine.is_unknown,
        )
        .where(ProviderReportLine.report_id == report_id)
        .order_by(ProviderReportLine.number)
    )
    posted = await tx.execute(
        select(Entry.account, func.sum(Entry.amount))
        .join(Correction, Correction.id == Entry.correction_id)
        .where(Correction.account == provider_account(provider), Correction.reference == report_id)
        .group_by(Entry.account)
    )
    amounts: dict[str, Any] = {account: int(amount) for account, amount in posted.all()}
    return Reconciled(
        report_id=report_id,
        repeated=repeated,
        lines=[_line(row) for row in lines.all()],
        loss=NanoUSD(amounts.get(PLATFORM_LOSS, 0)),
        gain=NanoUSD(-amounts.get(GAIN, 0)),
        waiting=await facts.waiting(tx, provider),
    )


def _line(row: Row[*tuple[Any, ...]]) -> ReportLine:
    return ReportLine(*row)
