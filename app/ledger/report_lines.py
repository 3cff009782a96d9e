"""The table that a reconciliation shows: a line for each model and hour. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from app.ledger.matching import Bucket, Comparison, Matched, Rest
from app.ledger.provider_reports import hour_of
from app.money import NanoUSD

KEYS_MAX: Final = 200
"""Characters for the names of all keys of a line."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """What was reported, and what was known of it; `key` names all keys of its rows."""

    number: int
    key: str
    model: str
    hour: datetime | None
    rows: int
    calls: int
    reported: NanoUSD
    known: NanoUSD
    suspended: NanoUSD
    is_unknown: bool

    @property
    def difference(self) -> NanoUSD:
        """What was charged beyond what the books knew."""
        return NanoUSD(self.reported - self.known)


@dataclass(slots=True)
class _Sum:
    keys: set[str] = field(default_factory=set[str])
    rows: int = 0
    calls: int = 0
    reported: int = 0
    known: int = 0
    suspended: int = 0
    is_unknown: bool = False

    def add(self, one: Matched | Rest) -> None:
        calls = [one.call] if isinstance(one, Matched) else one.calls
        self.keys |= {row.key for row in one.rows if row.key is not None}
        self.rows += len(one.rows)
        self.calls += len(calls)
        self.reported += one.reported
        self.known += one.reported - one.difference
        self.suspended += sum(call.suspended for call in calls)
        self.is_unknown |= isinstance(one, Rest) and one.is_unknown


def lines_of(found: Comparison) -> list[ReportLine]:
    """A line for each model and hour of a comparison, in their order."""
    sums: defaultdict[Bucket, _Sum] = defaultdict(_Sum)
    for one in found.parts:
        sums[_bucket(one)].add(one)
    return [
        ReportLine(
            number=number,
            key=",".join(sorted(added.keys))[:KEYS_MAX],
            model=model,
            hour=hour,
            rows=added.rows,
            calls=added.calls,
            reported=NanoUSD(added.reported),
            known=NanoUSD(added.known),
            suspended=NanoUSD(added.suspended),
            is_unknown=added.is_unknown,
        )
        for number, ((model, hour), added) in enumerate(sorted(sums.items(), key=_place), start=1)
    ]


def _bucket(one: Matched | Rest) -> Bucket:
    if isinstance(one, Rest):
        return one.bucket
    row = one.rows[0]
    return row.model or one.call.model, row.hour or hour_of(one.call.started_at)


def _place(entry: tuple[Bucket, _Sum]) -> tuple[str, str]:
    model, hour = entry[0]
    return "" if hour is None else hour.isoformat(), model
