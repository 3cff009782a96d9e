"""What the gate has brought, read from the journal, the results and the gate's labels."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)

from app.db.engine import Database, ReadTx
from app.errors import InvalidRequest
from app.gate.gate import Route
from app.ids import TenantId
from app.learning.lesson import ESCALATED, Lesson
from app.learning.tables import GateExample
from app.ledger.months import Month
from app.ledger.postings import PLATFORM_LOSS
from app.ledger.tables import Entry, Solve
from app.money import NanoUSD
from app.solve.returns import Difference, Return, Sums, account, difference
from app.tenants.tables import TenantRow

LESSONS_MAX: Final = 20_000
"""Labelled answers that are looked at, the newest."""
ANSWERED: Final = ("completed", "incomplete")
MONTHS_MAX: Final = 36
MONTH: Final = timedelta(days=30)
"""Of the platform's fixed cost."""


class GroupBy(StrEnum):
    """What one row of the account stands for."""

    TENANT = "tenant"
    CATEGORY = "category"
    PERIOD = "period"


@dataclass(frozen=True, slots=True)
class Platform:
    """What the operator bears, and no tenant is told: losses, and the fixed cost of the span."""

    losses: NanoUSD
    fixed: NanoUSD


@dataclass(frozen=True, slots=True)
class Account:
    """Each group, the dearest first or in order of time, and all of them together."""

    groups: Sequence[tuple[str | None, Return]]
    total: Return
    platform: Platform


class Benefit:
    """Reads what solves created in a span have cost and brought; replays cost and bring nothing.

    `values` is V by policy, `fixed` what the platform costs in thirty days.
    """

    def __init__(
        self, database: Database, *, values: Mapping[str, NanoUSD], fixed: NanoUSD
    ) -> None:
        self._db, self._values, self._fixed = database, values, fixed

    async def report(
        self, *, group_by: GroupBy, start: datetime, end: datetime, tenant_id: TenantId | None
    ) -> Account:
        """Of one tenant, or of all. Raises InvalidRequest for too many months."""
        spans = [(start, end)]
        if group_by is GroupBy.PERIOD:
            spans = months(start, end)
        sums: dict[str | None, Sums] = {}
        known: defaultdict[str | None, list[Difference]] = defaultdict(list)
        async with self._db.read() as tx:
            for since, until in spans:
                within, by = _within(since, until, tenant_id), COLUMNS[group_by]
                month = str(Month.of(since)) if group_by is GroupBy.PERIOD else None
                for group, found in await _sums(tx, by, within):
                    sums[month or group] = found
                for group, lesson, policy in await _labelled(tx, by, within):
                    one = difference(lesson, self._values.get(policy, NanoUSD(0)))
                    if one is not None:
                        known[month or group].append(one)
            losses = await _losses(tx, start, end)
        order = sorted(sums, key=lambda group: -sums[group].posted)
        if group_by is GroupBy.PERIOD:
            order = list(sums)
        return Account(
            groups=[(group, account(sums[group], known[group])) for group in order],
            total=account(
                sum(sums.values(), Sums()), [one for group in known.values() for one in group]
            ),
            platform=Platform(losses, NanoUSD(round(self._fixed * ((end - start) / MONTH)))),
        )


def months(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The span's calendar months, in UTC, the first and the last cut at its ends."""
    found: list[tuple[datetime, datetime]] = []
    while start < end:
        if len(found) == MONTHS_MAX:
            raise InvalidRequest("from", f"at most {MONTHS_MAX} months at a time")
        utc = start.astimezone(UTC)
        following = datetime(utc.year + utc.month // 12, utc.month % 12 + 1, 1, tzinfo=UTC)
        found.append((start, min(following, end)))
        start = following
    return found


Wheres = Sequence[ColumnElement[bool]]


COLUMNS: Final[Mapping[GroupBy, ColumnElement[Any]]] = {
    GroupBy.TENANT: TenantRow.name.expression,
    GroupBy.CATEGORY: GateExample.category.expression,
    # A month at a time, of solves that are all no replay of another.
    GroupBy.PERIOD: Solve.replay_of.expression,
}


def _within(start: datetime, end: datetime, tenant_id: TenantId | None) -> Wheres:
    span = [Solve.created_at >= start, Solve.created_at < end, Solve.replay_of.is_(None)]
    return span if tenant_id is None else [*span, Solve.tenant_id == tenant_id]


def _joined(columns: Sequence[ColumnElement[Any]], within: Wheres) -> Select[*tuple[Any, ...]]:
    # Feedback may be there before its solve's lesson, or without one.
    lesson = and_(GateExample.solve_id == Solve.id, GateExample.pair.is_not(None))
    return (
        select(*columns)
        .select_from(Solve)
        .join(TenantRow, TenantRow.id == Solve.tenant_id)
        .outerjoin(GateExample, lesson)
        .where(*within)
    )


async def _sums(
    tx: ReadTx, group: ColumnElement[Any], within: Wheres
) -> Sequence[tuple[str | None, Sums]]:
    version = Solve.result[("decision", "gate_version")].as_string()
    decided = and_(version.is_not(None), Solve.state.in_(ANSWERED))
    cheap = case((decided, _amount("single_baseline")))
    strong = case((decided, _amount("strong_baseline")))
    # What is not known to be the same answer is another, unless it is the first by its route.
    unknown = and_(GateExample.same.is_(None), Solve.route != Route.SINGLE)
    changed = and_(decided, or_(GateExample.same.is_(False), unknown))
    columns: list[ColumnElement[Any]] = [
        func.count(),
        func.sum(Solve.posted),
        func.count(cheap),
        func.sum(case((cheap.is_not(None), Solve.posted))),
        func.sum(cheap),
        func.count(strong),
        func.sum(case((strong.is_not(None), Solve.posted))),
        func.sum(strong),
        func.sum(case((decided, 1), else_=0)),
        func.sum(case((decided, Solve.posted), else_=0)),
        func.sum(case((changed, 1), else_=0)),
        func.count(GateExample.search_cost),
        func.sum(GateExample.search_cost),
    ]
    query = _joined([group, *columns], within).group_by(group)
    rows = (await tx.execute(query)).all()
    return [(row[0], Sums(*(int(figure or 0) for figure in row[1:]))) for row in rows]


async def _labelled(
    tx: ReadTx, group: ColumnElement[Any], within: Wheres
) -> Sequence[tuple[str | None, Lesson, str]]:
    lesson = [GateExample.__table__.columns[name] for name in Lesson.__dataclass_fields__]
    verified = and_(GateExample.source.is_not(None), GateExample.source != ESCALATED)
    query = (
        _joined([group, TenantRow.policy.expression, *lesson], within)
        .where(Solve.state.in_(ANSWERED), GateExample.same.is_(False))
        .where(or_(verified, GateExample.feedback.is_not(None)))
        .order_by(GateExample.labelled_at.desc(), GateExample.solve_id)
        .limit(LESSONS_MAX)
    )
    rows = (await tx.execute(query)).all()
    return [(row[0], Lesson(*row[2:]), row[1]) for row in rows]


async def _losses(tx: ReadTx, start: datetime, end: datetime) -> NanoUSD:
    query = select(func.coalesce(func.sum(Entry.amount), 0)).where(
        Entry.account == PLATFORM_LOSS, Entry.posted_at >= start, Entry.posted_at < end
    )
    return NanoUSD(int((await tx.execute(query)).scalar_one()))


def _amount(name: str) -> ColumnElement[int | None]:
    return cast(Solve.result[name].as_string(), BigInteger)
