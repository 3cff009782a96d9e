"""Holds: which budget rows a solve draws on, and whether an amount fits.

There is no reset job. A period is a row of its own, so a new one starts empty by existing, and a
hold belongs to the period that admitted it.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    Row,
    String,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db.clock import Clock, now
from app.db.engine import ReadTx, WriteTx
from app.ids import BatchId, KeyId, OrgId, ProjectId, SolveId, TenantId
from app.ledger.limits import of_account
from app.ledger.periods import FOREVER, Period, bounds
from app.ledger.quotas import Quota, Unit, tightest
from app.ledger.raises import Raised, is_outdated, live
from app.ledger.refusals import LadderReached
from app.ledger.tables import Budget, BudgetRule, LimitRule, Solve
from app.money import NanoUSD

SCOPES: Final = ("org", "tenant", "project", "key", "session", "batch")
"""From the widest to the narrowest."""

TEN_THOUSAND: Final = 10_000
"""What the parts of a limit are counted in."""

SHORTENED: Final = 27
"""Hexadecimal digits of a hash that, behind a rule's id, make the id of a session's budget."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays: the budgets of each of these scopes must admit every hold.

    `session` is the caller's name for solves that belong together.
    """

    tenant_id: TenantId
    key_id: KeyId
    project_id: ProjectId | None = None
    org_id: OrgId | None = None
    session: str | None = None
    batch_id: BatchId | None = None

    def scopes(self) -> Sequence[tuple[str, str]]:
        """(scope, id) from the widest to the narrowest."""
        project = () if self.project_id is None else (("project", self.project_id),)
        org = () if self.org_id is None else (("org", self.org_id),)
        # A session's rule is its tenant's: each session that is named has the same cap.
        session = () if self.session is None else (("session", self.tenant_id),)
        batch = () if self.batch_id is None else (("batch", self.batch_id),)
        key = ("key", self.key_id)
        return (*org, ("tenant", self.tenant_id), *project, key, *session, *batch)


@dataclass(frozen=True, slots=True)
class Path:
    """The budget rows that a hold must fit, and why it may be for a single call alone.

    `quotas` are the tightest of them as they were found; `is_limited` says that what it counts is
    limited, too, as app/ledger/limits.py knows.
    """

    budgets: Sequence[str]
    ladder: LadderReached | None
    quotas: tuple[Quota, ...]
    is_limited: bool


@dataclass(frozen=True, slots=True)
class Release:
    """What ends of the holds on one budget, and what of that was spent; in nano-dollars."""

    held: NanoUSD = NanoUSD(0)
    spent: NanoUSD = NanoUSD(0)

    def __add__(self, other: "Release") -> "Release":
        return Release(NanoUSD(self.held + other.held), NanoUSD(self.spent + other.spent))


class RaiseEnded(Exception):
    """Limits of these rules count on raises that have ended; they must be renewed first."""

    def __init__(self, rules: Collection[str]) -> None:
        super().__init__(*rules)
        self.rules = rules


class DoesNotFit(Exception):
    """A CHECK refused the amount and aborted the transaction; a new one can say which level did."""


async def paths(tx: WriteTx, accounts: Collection[Account]) -> Mapping[Account, Path]:
    """The budget rows that a hold of each made now must fit, opened where a new period has begun.

    An account without any budget may spend nothing, so a key is never made without one. Raises
    DoesNotFit or RaiseEnded.
    """
    found = {account: (await tx.execute(_PATH, whose(account))).all() for account in accounts}
    ended = {row[0] for rows in found.values() for row in rows if row[3]}
    if ended:
        raise RaiseEnded(ended)
    # In one order whoever asks, so that two batches cannot wait for each other's.
    new = sorted({(row[0], row[1]) for rows in found.values() for row in rows if not row[2]})
    opened = {place: await _open(tx, *place) for place in new}
    if not all(found.values()):
        raise DoesNotFit
    return {account: _path(rows, opened) for account, rows in found.items()}


async def outdated(tx: ReadTx, solve_id: SolveId) -> Collection[str]:
    """The rules by which a solve's budgets count on raises that have ended."""
    ids = await tx.scalar(select(Solve.budgets).where(Solve.id == solve_id))
    found = await tx.scalars(
        select(Budget.rule_id).where(Budget.id.in_(ids or []), is_outdated()).distinct()
    )
    return found.all()


async def reserve(tx: WriteTx, amounts: Mapping[str, NanoUSD]) -> None:
    """Hold an amount on each of these budgets, or on none of them.

    A statement a budget, in one order and one journey: a statement for all would lock them in the
    order in which it finds them, which is not the same for two transactions at once, and each
    deadlock costs a second.

    Unconditional on purpose: a conditional UPDATE would reserve on the levels that fit and skip the
    one that does not; here its CHECK aborts the whole transaction. Raises DoesNotFit.
    """
    try:
        rows = [{"budget": budget, "held": amounts[budget]} for budget in sorted(amounts)]
        await tx.execute(_RESERVE, rows)
    except IntegrityError as error:
        raise DoesNotFit from error


async def release(tx: WriteTx, releases: Mapping[str, Release]) -> None:
    """End holds: what was spent is posted, the rest is free again.

    A limit that was lowered below what the period had used comes down as far as that is given back.
    """
    rows = [
        {"budget": budget, "held": releases[budget].held, "spent": releases[budget].spent}
        for budget in sorted(releases)
    ]
    if rows:
        await tx.execute(_RELEASE, rows)


async def _open(tx: WriteTx, rule_id: str, session: str) -> tuple[str, NanoUSD, datetime]:
    """The row's id, its limit and its end."""
    # Read again and locked, or a limit lowered meanwhile would not bound the period opened here.
    rule = await tx.execute(
        select(
            BudgetRule.tenant_id,
            BudgetRule.period,
            BudgetRule.timezone,
            BudgetRule.limit_nano,
            BudgetRule.raised_until,
        )
        .where(BudgetRule.id == rule_id)
        .with_for_update(read=True)
    )
    tenant_id, period, timezone, limit, raised_until = rule.one()
    at = await now(tx)
    start, end = bounds(Period(period), timezone, at)
    is_raised = raised_until is not None and raised_until > at
    raised = await live(tx, rule_id, at) if is_raised else Raised()
    # The id is a function of rule, session and period, so two replicas that open a period at once
    # agree on it, and the second finds it open. (Both dialects write ON CONFLICT alike.)
    period_name = f"{start:%Y%m%dT%H%M}"
    if session:
        period_name = hashlib.sha256(f"{period_name}:{session}".encode()).hexdigest()[:SHORTENED]
    budget_id = f"{rule_id}:{period_name}"
    await tx.execute(
        upsert(Budget)
        .values(
            id=budget_id,
            rule_id=rule_id,
            tenant_id=tenant_id,
            period_start=start,
            period_end=end,
            lim=limit + raised.by,
            target=limit,
            raised=raised.by,
            raised_until=raised.until,
            posted=0,
            reserved=0,
            session=session,
        )
        .on_conflict_do_nothing()
    )
    return budget_id, NanoUSD(limit + raised.by), end


def _path(
    rows: Sequence[Row[*tuple[Any, ...]]],
    opened: Mapping[tuple[str, str], tuple[str, NanoUSD, datetime]],
) -> Path:
    budgets: list[str] = []
    quotas: list[Quota] = []
    ladder: LadderReached | None = None
    is_limited = False
    for rule_id, session, open_id, _, scope, period, single_from, *amounts in rows:
        is_on_ladder, limit, left, ends, is_limited = amounts
        if not open_id:
            budget_id, limit, ends = opened[rule_id, session]
            left = limit
        else:
            budget_id = open_id
        budgets.append(budget_id)
        quotas.append(quota(scope, Period(period), limit=limit, left=left, ends=ends))
        if is_on_ladder and ladder is None:
            ladder = LadderReached(scope, at=single_from, resets_at_s=resets_at_s(ends))
    found = tightest(quotas)
    if ladder is not None:
        ladder.quotas = found
    return Path(sorted(budgets), ladder, found, is_limited)


def quota(scope: str, period: Period, *, limit: int, left: int, ends: datetime) -> Quota:
    """What callers are told of a budget."""
    return Quota(
        scope=scope,
        unit=Unit.USD,
        period=period,
        limit=left if scope == "org" else limit,
        left=left,
        window_s=period.usual_s,
        ends_at_s=resets_at_s(ends),
    )


def resets_at_s(period_end: datetime) -> int | None:
    """The Unix time at which the next period starts; None where there is none."""
    return None if period_end == FOREVER[1] else int(period_end.timestamp())


def is_current() -> ColumnElement[bool]:
    """Whether the row is that of a rule's present period, and of the session named."""
    return and_(
        Budget.rule_id == BudgetRule.id,
        Budget.period_start <= Clock(),
        Budget.period_end > Clock(),
        Budget.session == _SESSION,
    )


def _of_account() -> ColumnElement[bool]:
    return or_(
        *(
            and_(BudgetRule.scope == scope, BudgetRule.scope_id == bindparam(scope))
            for scope in SCOPES
        )
    )


def whose(account: Account) -> Mapping[str, str | None]:
    """What OF_ACCOUNT and is_current are executed with."""
    named = {"session_name": account.session or ""}
    return dict.fromkeys(SCOPES) | dict(account.scopes()) | named


def _is_on_ladder() -> ColumnElement[bool]:
    # In floating point: no int64 has room for ten thousand times any limit.
    used = cast(Budget.posted + Budget.reserved, Float)
    share = cast(Budget.lim, Float) * BudgetRule.single_from
    return and_(BudgetRule.single_from.is_not(None), used > 0, used * TEN_THOUSAND >= share)


def _reserve() -> Update:
    # A raise that has ended allows nothing more, even where its limit was not renewed yet.
    used, target = Budget.posted + Budget.reserved, func.coalesce(Budget.target, Budget.lim)
    standing = case((used > target, used), else_=target)
    return (
        update(Budget)
        .where(Budget.id == bindparam("budget"))
        .values(
            reserved=Budget.reserved + bindparam("held"),
            lim=case((is_outdated(), standing), else_=Budget.lim),
        )
    )


def _release() -> Update:
    used = Budget.posted + Budget.reserved + bindparam("spent") - bindparam("held")
    # Of this row alone: the rule as it was when the statement began may have changed since, while
    # it waited for the row.
    raised = case((is_outdated(), 0), else_=Budget.raised)
    target = func.coalesce(Budget.target + raised, Budget.lim)
    return (
        update(Budget)
        .where(Budget.id == bindparam("budget"))
        .values(
            reserved=Budget.reserved - bindparam("held"),
            posted=Budget.posted + bindparam("spent"),
            lim=case((Budget.lim <= target, Budget.lim), (used > target, used), else_=target),
        )
    )


# Written once and executed with the amounts of each hold: to build a statement anew costs several
# times what it costs to run.
_SESSION: Final = case(
    (BudgetRule.scope == "session", bindparam("session_name", type_=String())), else_=""
)
OF_ACCOUNT: Final = _of_account()
_PATH: Final = (
    select(
        BudgetRule.id,
        _SESSION,
        func.coalesce(Budget.id, ""),
        is_outdated(),
        BudgetRule.scope,
        BudgetRule.period,
        BudgetRule.single_from,
        _is_on_ladder(),
        Budget.lim,
        Budget.lim - Budget.posted - Budget.reserved,
        Budget.period_end,
        select(LimitRule.id).where(of_account()).exists(),
    )
    .outerjoin(Budget, is_current())
    .where(OF_ACCOUNT)
    .order_by(BudgetRule.id)  # all open periods in one order, so that none deadlock
)
_RESERVE: Final = _reserve()
_RELEASE: Final = _release()
