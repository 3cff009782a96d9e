"""Requests and tokens a minute, and solves at once: counted before they happen, like money.

A window is a row whose CHECK polices it, across all processes. A solve counts in the windows that
admitted it until it is finished, whoever finishes it: none of them is emptied by a timer. Its
tokens count call by call, in the minute in which each is begun: held at their worst case, and
corrected when the solve ends.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db.clock import Clock, now
from app.db.engine import ReadTx, WriteTx
from app.ids import OrgId, SolveId, TenantId, uuid7
from app.ledger.periods import FOREVER
from app.ledger.postings import CallState
from app.ledger.quotas import Quota, Unit
from app.ledger.tables import Call, LimitRule, LimitWindow

SCOPES: Final = ("org", "tenant", "project", "key")

MINUTE_S: Final = 60
KEPT: Final = timedelta(days=1)
"""How long a window is kept that nobody holds any more."""


class OverLimit(Exception):
    """A CHECK refused the count and aborted the transaction; a new one can say which limit did."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window as it was found, and what callers are told of it."""

    id: str
    unit: Unit
    quota: Quota


@dataclass(frozen=True, slots=True)
class Given:
    """What ends of what is held in a window, and what of that was used."""

    held: int = 0
    used: int = 0

    def __add__(self, other: "Given") -> "Given":
        return Given(self.held + other.held, self.used + other.used)


async def set_limit(
    tx: WriteTx, *, owner: TenantId | OrgId, scope: str, scope_id: str, unit: Unit, most: int | None
) -> None:
    """Limit a scope, or, with None, no more; the open window follows at once."""
    rule = (
        upsert(LimitRule)
        .values(
            id=f"lim_{uuid7().hex}",
            tenant_id=owner,
            scope=scope,
            scope_id=scope_id,
            unit=unit,
            most=most,
        )
        .on_conflict_do_update(index_elements=["scope", "scope_id", "unit"], set_={"most": most})
        .returning(LimitRule.id)
    )
    rule_id = await tx.scalar(rule)
    if most is None:
        return
    count = LimitWindow.used + LimitWindow.held
    await tx.execute(
        update(LimitWindow)
        .where(LimitWindow.rule_id == rule_id, LimitWindow.window_end > Clock())
        .values(target=most, lim=case((count > most, count), else_=most))
    )


async def windows(
    tx: WriteTx, accounts: Sequence[Mapping[str, str | None]]
) -> Sequence[Sequence[Window]]:
    """The windows in which a solve of each account counts, opened where a minute has begun."""
    found = [(await tx.execute(_WINDOWS, account)).all() for account in accounts]
    # In one order whoever asks, so that two batches cannot wait for each other's.
    new = sorted({row.rule_id for rows in found for row in rows if row.window_id is None})
    opened = {rule_id: await _open(tx, rule_id) for rule_id in new}
    return [_windows(rows, opened) for rows in found]


def _windows(
    rows: Sequence[Row[*tuple[Any, ...]]], opened: Mapping[str, Row[*tuple[Any, ...]] | None]
) -> Sequence[Window]:
    there = [(row, opened[row.rule_id] if row.window_id is None else row) for row in rows]
    return [
        Window(window.window_id, Unit(rule.unit), _quota(rule, window))
        for rule, window in there
        if window is not None  # its limit was lifted meanwhile
    ]


async def quotas(tx: ReadTx, of: Mapping[str, str | None]) -> Sequence[Quota]:
    """The limits of these scopes as they stand."""
    return [_quota(row, row) for row in (await tx.execute(_WINDOWS, of)).all()]


async def quotas_after(tx: ReadTx, window_ids: Collection[str]) -> Sequence[Quota]:
    """The limits of these windows as they stand now, in whichever window that is."""
    rows = await tx.execute(_OF_RULES, {"rules": _rules(window_ids)})
    return [_quota(row, row) for row in rows.all()]


async def present(tx: WriteTx, window_ids: Collection[str]) -> Sequence[str]:
    """The windows of now of the limits of these, opened where a minute has begun.

    Those may be gone by now. A limit that was lifted meanwhile has none.
    """
    rows = (await tx.execute(_OF_RULES, {"rules": _rules(window_ids)})).all()
    found = [row.window_id or await _opened(tx, row.rule_id) for row in rows]
    return [window for window in found if window is not None]


async def _opened(tx: WriteTx, rule_id: str) -> str | None:
    made = await _open(tx, rule_id)
    return None if made is None else made.window_id


def _rules(window_ids: Collection[str]) -> list[str]:
    # A window is named for its rule.
    return sorted({window.rpartition(":")[0] for window in window_ids})


async def take(tx: WriteTx, amounts: Mapping[str, int]) -> None:
    """Count in each of these windows, in one order, or in none. Raises OverLimit."""
    rows = [{"window": window, "more": amounts[window]} for window in sorted(amounts)]
    try:
        await tx.execute(_TAKE, rows)
    except IntegrityError as error:
        raise OverLimit from error


async def end(tx: WriteTx, solves: Mapping[SolveId, Mapping[str, Sequence[str]]]) -> None:
    """Solves have ended: what they used stays counted in its minute, the rest is free again."""
    given: dict[str, Given] = {}
    for by_unit in solves.values():
        for unit, ended in ((Unit.REQUESTS, Given(1, 1)), (Unit.CONCURRENT, Given(1, 0))):
            for window in by_unit[unit]:
                given[window] = given.get(window, Given()) + ended
    for one in (await tx.execute(TOKENS.where(Call.solve_id.in_(solves)))).all():
        tokens = tokens_given(one)
        for window in one.limit_windows or solves[SolveId(one.solve_id)][Unit.TOKENS]:
            given[window] = given.get(window, Given()) + tokens
    await tx.execute(
        _GIVE,
        [
            {"window": window, "less": given[window].held, "spent": given[window].used}
            for window in sorted(given)
        ],
    )


def tokens_given(row: Row[*tuple[Any, ...]]) -> Given:
    """What a row of TOKENS was held for, and what of that was used."""
    # A provider may report more than the bound: no CHECK may refuse an end for it.
    return Given(int(row.held), min(int(row.held), int(row.used)))


async def _open(tx: WriteTx, rule_id: str) -> Row[*tuple[Any, ...]] | None:
    # Read again and locked, or a limit lowered meanwhile would not bound the window opened here.
    rule = await tx.execute(
        select(LimitRule.unit, LimitRule.most)
        .where(LimitRule.id == rule_id)
        .with_for_update(read=True)
    )
    unit, most = rule.one()
    if most is None:
        return None
    at = await now(tx)
    start, ends = _minute(at) if unit != Unit.CONCURRENT else FOREVER
    window_id = f"{rule_id}:{start:%Y%m%dT%H%M}"
    await tx.execute(
        upsert(LimitWindow)
        .values(
            id=window_id,
            rule_id=rule_id,
            window_start=start,
            window_end=ends,
            lim=most,
            target=most,
            used=0,
            held=0,
        )
        .on_conflict_do_nothing()
    )
    old = and_(LimitWindow.rule_id == rule_id, LimitWindow.window_end < at - KEPT)
    await tx.execute(delete(LimitWindow).where(old, LimitWindow.held == 0))
    return (await tx.execute(_FOUND.where(LimitWindow.id == window_id))).one()


def _minute(at: datetime) -> tuple[datetime, datetime]:
    start = at.replace(second=0, microsecond=0)
    return start, start + timedelta(seconds=MINUTE_S)


def _quota(rule: Row[*tuple[Any, ...]], window: Row[*tuple[Any, ...]]) -> Quota:
    is_open = window.window_id is not None
    unit = Unit(rule.unit)
    is_timed = unit is not Unit.CONCURRENT
    ends = window.window_end
    return Quota(
        scope=rule.scope,
        unit=unit,
        period="minute" if is_timed else "now",
        limit=window.lim if is_open else rule.most,
        left=window.left if is_open else rule.most,
        window_s=MINUTE_S if is_timed else None,
        ends_at_s=int(ends.timestamp()) if is_open and is_timed else None,
    )


def of_account() -> ColumnElement[bool]:
    """Whether a rule that is in force is of the account that a statement is executed with."""
    scopes = (
        and_(LimitRule.scope == scope, LimitRule.scope_id == bindparam(scope)) for scope in SCOPES
    )
    return and_(LimitRule.most.is_not(None), or_(*scopes))


_COUNT: Final = LimitWindow.used + LimitWindow.held + bindparam("spent") - bindparam("less")
_COLUMNS: Final = (
    LimitRule.id.label("rule_id"),
    LimitRule.unit,
    LimitRule.scope,
    LimitRule.most,
    LimitWindow.id.label("window_id"),
    LimitWindow.lim,
    (LimitWindow.lim - LimitWindow.used - LimitWindow.held).label("left"),
    LimitWindow.window_end,
)
_FOUND: Final = select(*_COLUMNS).join(LimitWindow, LimitWindow.rule_id == LimitRule.id)
_PRESENT: Final = (
    select(*_COLUMNS)
    .outerjoin(
        LimitWindow,
        and_(
            LimitWindow.rule_id == LimitRule.id,
            LimitWindow.window_start <= Clock(),
            LimitWindow.window_end > Clock(),
        ),
    )
    .order_by(LimitRule.id)  # in one order, so that none deadlock
)
_WINDOWS: Final = _PRESENT.where(of_account())
_OF_RULES: Final = _PRESENT.where(
    LimitRule.most.is_not(None), LimitRule.id.in_(bindparam("rules", expanding=True))
)
_TAKE: Final = (
    update(LimitWindow)
    .where(LimitWindow.id == bindparam("window"))
    .values(held=LimitWindow.held + bindparam("more"))
)
_GIVE: Final = (
    update(LimitWindow)
    .where(LimitWindow.id == bindparam("window"))
    .values(
        held=LimitWindow.held - bindparam("less"),
        used=LimitWindow.used + bindparam("spent"),
        lim=case(
            (LimitWindow.lim <= LimitWindow.target, LimitWindow.lim),
            (LimitWindow.target < _COUNT, _COUNT),
            else_=LimitWindow.target,
        ),
    )
)
_REPORTED: Final = or_(Call.input_tokens.is_not(None), Call.output_tokens.is_not(None))
_BOUND: Final = func.coalesce(Call.max_tokens, 0)
TOKENS: Final = select(
    Call.solve_id,
    Call.limit_windows,
    func.sum(_BOUND).label("held"),
    func.sum(
        case(
            (
                _REPORTED,
                func.coalesce(Call.input_tokens, 0) + func.coalesce(Call.output_tokens, 0),
            ),
            (Call.state == CallState.FAILED, 0),
            else_=_BOUND,  # nobody knows, so all that it may have been
        )
    ).label("used"),
).group_by(Call.solve_id, Call.limit_windows)
"""Of each solve, and of each lot of windows (none: its own), the tokens that its calls were held
for there, and those that they used."""
