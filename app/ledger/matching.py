"""Which call of ours each charge of a provider's report is for, and by how much they differ. Pure.

A row with a request id is compared with the call that was given it. What is left of the rows is
compared with what is left of the calls, model by model and hour by hour: there it is only known how
much they differ together.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from app.ledger.provider_reports import ReportRow, hour_of, total
from app.money import NanoUSD

Bucket: TypeAlias = tuple[str, datetime | None]
"""A provider's name of a model, and an hour; None where a report does not say when."""


@dataclass(frozen=True, slots=True)
class Booked:
    """A closed call as the books have it, in nano-dollars.

    `known` is what is owed for it without doubt, `suspended` what may have been charged besides.
    """

    call_id: str
    solve_id: str
    model: str
    returned_model: str | None
    request_id: str | None
    started_at: datetime
    known: NanoUSD
    suspended: NanoUSD


@dataclass(frozen=True, slots=True)
class Matched:
    """A call whose charge the report names."""

    call: Booked
    rows: Sequence[ReportRow]
    reported: NanoUSD

    @property
    def difference(self) -> NanoUSD:
        """What was charged beyond what the books knew; negative where it was less."""
        return NanoUSD(self.reported - self.call.known)


@dataclass(frozen=True, slots=True)
class Rest:
    """The rows and the calls of a bucket that nothing tells apart.

    `before` is by how much earlier reports of this bucket differed, which is on the books by now.
    """

    bucket: Bucket
    calls: Sequence[Booked]
    rows: Sequence[ReportRow]
    reported: NanoUSD
    before: NanoUSD

    @property
    def known(self) -> NanoUSD:
        """What the books owe for it."""
        return NanoUSD(self.before + sum(call.known for call in self.calls))

    @property
    def difference(self) -> NanoUSD:
        """What was charged beyond what the books knew; negative where it was less."""
        return NanoUSD(self.reported - self.known)

    @property
    def is_unknown(self) -> bool:
        """Whether something was charged for which we have no call at all."""
        return bool(self.rows) and not self.calls


@dataclass(frozen=True, slots=True)
class Comparison:
    """A report beside the books."""

    matched: Sequence[Matched]
    rests: Sequence[Rest]

    @property
    def parts(self) -> Sequence[Matched | Rest]:
        """Everything that was compared with something."""
        return [*self.matched, *self.rests]


@dataclass(slots=True)
class _Open:
    rows: list[ReportRow] = field(default_factory=list[ReportRow])
    calls: list[Booked] = field(default_factory=list[Booked])


def compare(
    rows: Sequence[ReportRow],
    calls: Sequence[Booked],
    *,
    covered: tuple[datetime, datetime] | None = None,
    before: Mapping[Bucket, NanoUSD],
) -> Comparison:
    """Match rows and calls; every row is in one place, and a call in one at most.

    In the span `covered`, if any, the report is whole: a call that it lacks was not charged.
    Elsewhere a call that it lacks is left as it is.
    """
    by_request: defaultdict[str, list[ReportRow]] = defaultdict(list)
    for row in rows:
        if row.request_id is not None:
            by_request[row.request_id].append(row)
    matched: dict[str, Matched] = {}
    for call in calls:
        theirs = by_request.pop(call.request_id, None) if call.request_id is not None else None
        if theirs is not None:
            matched[call.call_id] = Matched(call, theirs, total(theirs))
    buckets: defaultdict[Bucket, _Open] = defaultdict(_Open)
    for row in rows:
        if row.request_id is None or row.request_id in by_request:
            buckets[row.model or "", row.hour].rows.append(row)
    names = {row.model for row in rows}
    for call in calls:
        if call.call_id not in matched:
            bucket = bucket_of(call, names)
            if _is_covered(call, covered) or _may_be_among(call, buckets.get(bucket)):
                buckets[bucket].calls.append(call)
    # Where the report is whole, it also takes back what an earlier one said and it does not.
    named = {**buckets, **({b: _Open() for b in before if b not in buckets} if covered else {})}
    rests = [
        Rest(bucket, left.calls, left.rows, total(left.rows), before.get(bucket, NanoUSD(0)))
        for bucket, left in named.items()
    ]
    return Comparison(list(matched.values()), rests)


def bucket_of(call: Booked, names: Collection[str | None]) -> Bucket:
    """Under the name that the report has for its model: that of the answer, else what we asked."""
    answered_by = call.returned_model
    name = call.model if answered_by is None or answered_by not in names else answered_by
    return name, hour_of(call.started_at)


def _is_covered(call: Booked, covered: tuple[datetime, datetime] | None) -> bool:
    return covered is not None and covered[0] <= call.started_at < covered[1]


def _may_be_among(call: Booked, left: _Open | None) -> bool:
    """Whether a row without a call may be this one's: not where all of them are other requests'."""
    if left is None or not left.rows:
        return False
    return call.request_id is None or any(row.request_id is None for row in left.rows)
