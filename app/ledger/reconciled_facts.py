"""What the books have of a provider's calls, for a report to be compared with."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, case, func, select

from app.db.engine import ReadTx, WriteTx
from app.ledger.finance_tables import ProviderReport, ProviderReportLine
from app.ledger.matching import Booked, Bucket, bucket_of
from app.ledger.postings import SUSPENSE, CallState, provider_account
from app.ledger.provider_reports import ReportRow, hour_of
from app.ledger.tables import Call, Correction, Entry
from app.money import NanoUSD

LOT: Final = 500
"""Ids in one statement."""

HOUR: Final = timedelta(hours=1)

Span = tuple[datetime, datetime]


def lots(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids, a statement's worth at a time."""
    return (ids[at : at + LOT] for at in range(0, len(ids), LOT))


def span_of(rows: Sequence[ReportRow], covered: Span | None) -> Span | None:
    """The whole hours that a report is about; None where it names no time."""
    hours = [row.hour for row in rows if row.hour is not None]
    spans = [(hour, hour + HOUR) for hour in hours] + ([] if covered is None else [covered])
    if not spans:
        return None
    return min(start for start, _ in spans), max(end for _, end in spans)


def subject_of(bucket: Bucket) -> str:
    """How a bucket is named in the books."""
    model, hour = bucket
    return f"{'-' if hour is None else hour_of(hour).isoformat()} {model}"


async def booked(
    tx: WriteTx, provider: str, rows: Sequence[ReportRow], covered: Span | None
) -> Sequence[Booked]:
    """The closed calls that a report may be about, locked: by its hours, and by its request ids."""
    of_provider = and_(Call.provider == provider, Call.state != CallState.INTENT)
    found: dict[str, Row[*tuple[Any, ...]]] = {}
    span = span_of(rows, covered)
    if span is not None:
        # A call that began before the hour in which it was charged is found by its request id.
        in_span = and_(of_provider, Call.started_at >= span[0], Call.started_at < span[1])
        found |= await _locked(tx, in_span)
    named = {row.request_id for row in rows if row.request_id is not None}
    absent = sorted(named - {row.provider_request_id for row in found.values()})
    for lot in lots(absent):
        found |= await _locked(tx, and_(of_provider, Call.provider_request_id.in_(lot)))
    owed, suspended = await _amounts(tx, provider, list(found))
    return [
        Booked(
            call_id=row.id,
            solve_id=row.solve_id,
            model=row.model,
            returned_model=row.returned_model,
            request_id=row.provider_request_id,
            started_at=row.started_at,
            known=NanoUSD(owed.get(row.id, 0) - suspended.get(row.id, 0)),
            suspended=NanoUSD(suspended.get(row.id, 0)),
        )
        for row in found.values()
    ]


async def bucket_differences(
    tx: ReadTx,
    provider: str,
    rows: Sequence[ReportRow],
    calls: Sequence[Booked],
    covered: Span | None,
) -> Mapping[Bucket, NanoUSD]:
    """By how much earlier reports differed from the books, in each bucket of this one."""
    names = {row.model for row in rows}
    buckets = {(row.model or "", row.hour) for row in rows}
    buckets |= {bucket_of(call, names) for call in calls}
    if covered is not None:
        buckets |= await _told_before(tx, provider, covered)
    by_subject = {subject_of(bucket): bucket for bucket in buckets}
    account = provider_account(provider)
    differences: dict[Bucket, NanoUSD] = {}
    for lot in lots(list(by_subject)):
        query = (
            select(Correction.subject, func.sum(-Entry.amount))
            .join(Entry, Entry.correction_id == Correction.id)
            .where(Correction.account == account, Entry.account == account)
            .where(Correction.call_id.is_(None), Correction.subject.in_(lot))
            .group_by(Correction.subject)
        )
        for subject, amount in (await tx.execute(query)).all():
            if amount:
                differences[by_subject[subject]] = NanoUSD(int(amount))
    return differences


async def waiting(tx: ReadTx, provider: str) -> NanoUSD:
    """What is in suspense for calls of this provider."""
    query = (
        select(func.coalesce(func.sum(Entry.amount), 0))
        .join(Call, Call.id == Entry.call_id)
        .where(Entry.account == SUSPENSE, Call.provider == provider)
    )
    return NanoUSD(int(await tx.scalar(query) or 0))


async def _told_before(tx: ReadTx, provider: str, covered: Span) -> set[Bucket]:
    query = (
        select(ProviderReportLine.model, ProviderReportLine.hour)
        .join(ProviderReport, ProviderReport.id == ProviderReportLine.report_id)
        .where(ProviderReport.provider == provider)
        .where(ProviderReportLine.hour >= covered[0], ProviderReportLine.hour < covered[1])
    )
    return {(model, hour) for model, hour in (await tx.execute(query)).all()}


async def _locked(tx: WriteTx, where: ColumnElement[bool]) -> dict[str, Row[*tuple[Any, ...]]]:
    # Locked before their entries are read, so that no late outcome is booked in between.
    columns = (
        Call.id,
        Call.solve_id,
        Call.model,
        Call.returned_model,
        Call.provider_request_id,
        Call.started_at,
    )
    rows = await tx.execute(select(*columns).where(where).order_by(Call.id).with_for_update())
    return {row.id: row for row in rows.all()}


async def _amounts(
    tx: ReadTx, provider: str, call_ids: Sequence[str]
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """What the provider is owed for each call, and how much of that is in suspense."""
    account = provider_account(provider)
    owed: dict[str, int] = {}
    suspended: dict[str, int] = {}
    for lot in lots(call_ids):
        booked_amounts = (
            select(
                Entry.call_id,
                func.sum(case((Entry.account == account, -Entry.amount), else_=0)),
                func.sum(case((Entry.account == SUSPENSE, Entry.amount), else_=0)),
            )
            .where(Entry.call_id.in_(lot))
            .group_by(Entry.call_id)
        )
        for call, due, waits in (await tx.execute(booked_amounts)).all():
            owed[str(call)], suspended[str(call)] = int(due), int(waits)
        corrected = (
            select(Correction.call_id, func.sum(-Entry.amount))
            .join(Entry, Entry.correction_id == Correction.id)
            .where(Correction.account == account, Entry.account == account)
            .where(Correction.call_id.in_(lot))
            .group_by(Correction.call_id)
        )
        for call, amount in (await tx.execute(corrected)).all():
            owed[str(call)] = owed.get(str(call), 0) + int(amount)
    return owed, suspended
