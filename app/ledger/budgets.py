"""Limits and their periods: which budget rows a solve draws on, and whether an amount fits.

There is no reset job. A period is a row of its own, so a new one starts empty by existing, and a
hold belongs to the period that admitted it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db.clock import Clock, now
from app.db.engine import ReadTx, WriteTx
from app.ids import KeyId, ProjectId, SolveId, TenantId, uuid7
from app.ledger.periods import Period, bounds
from app.ledger.refusals import BudgetExceeded
from app.ledger.tables import Budget, BudgetRule, Solve
from app.money import NanoUSD

SCOPES: Final = ("tenant", "project", "key")
"""From the widest to the narrowest."""

NOBODY: Final[Mapping[str, str | None]] = {}


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays: the budgets of each of these scopes must admit every hold."""

    tenant_id: TenantId
    key_id: KeyId
    project_id: ProjectId | None = None

    def scopes(self) -> Sequence[tuple[str, str]]:
        """(scope, id) from the widest to the narrowest."""
        project = () if self.project_id is None else (("project", self.project_id),)
        return (("tenant", self.tenant_id), *project, ("key", self.key_id))


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One period of one budget, as it stands; amounts in nano-dollars."""

    scope: str
    scope_id: str
    period: Period
    timezone: str
    period_end: datetime
    limit: NanoUSD
    posted: NanoUSD
    reserved: NanoUSD

    @property
    def available(self) -> NanoUSD:
        """What a further hold may take."""
        return NanoUSD(self.limit - self.posted - self.reserved)

    @property
    def resets_at_s(self) -> int | None:
        """The Unix time at which the next period starts; None where there is none."""
        return None if self.period is Period.TOTAL else int(self.period_end.timestamp())


@dataclass(frozen=True, slots=True)
class Release:
    """What ends of the holds on one budget, and what of that was spent; in nano-dollars."""

    held: NanoUSD = NanoUSD(0)
    spent: NanoUSD = NanoUSD(0)

    def __add__(self, other: "Release") -> "Release":
        return Release(NanoUSD(self.held + other.held), NanoUSD(self.spent + other.spent))


class DoesNotFit(Exception):
    """A CHECK refused the amount and aborted the transaction; a new one can say which level did."""


async def set_rule(
    tx: WriteTx,
    *,
    tenant_id: TenantId,
    scope: str,
    scope_id: str,
    period: Period,
    timezone: str,
    limit: NanoUSD,
) -> None:
    """Give a scope a limit a period, in place of the one it has for such periods.

    The current period follows at once, though never below what it has spent and holds.
    """
    rule = (
        upsert(BudgetRule)
        .values(
            id=f"rul_{uuid7().hex}",
            tenant_id=tenant_id,
            scope=scope,
            scope_id=scope_id,
            period=period,
            timezone=timezone,
            limit_nano=limit,
        )
        .on_conflict_do_update(
            index_elements=["scope", "scope_id", "period"],
            set_={"limit_nano": limit, "timezone": timezone},
        )
        .returning(BudgetRule.id)
    )
    rule_id = await tx.scalar(rule)
    used = Budget.posted + Budget.reserved
    await tx.execute(
        update(Budget)
        .where(Budget.rule_id == rule_id, Budget.period_end > Clock())
        .values(lim=case((used > limit, used), else_=limit))
    )


async def statuses(tx: ReadTx, account: Account) -> list[BudgetStatus]:
    """The current period of each budget, widest scope first; one not yet opened is untouched."""
    order = [scope for scope, _ in account.scopes()]
    levels = await _statuses(tx, _levels(_is_current()).where(_OF_ACCOUNT), _whose(account))
    return sorted(levels, key=lambda level: order.index(level.scope))


async def current_levels(tx: ReadTx, tenant_id: TenantId) -> list[BudgetStatus]:
    """The current period of every budget of a tenant, oldest rule first."""
    levels = _levels(_is_current()).where(BudgetRule.tenant_id == tenant_id)
    return await _statuses(tx, levels.order_by(BudgetRule.id))


async def admitting(tx: ReadTx, solve_id: SolveId) -> list[BudgetStatus]:
    """The budgets that admitted a solve, in the period in which they did; widest scope first."""
    ids = await tx.scalar(select(Solve.budgets).where(Solve.id == solve_id))
    levels = await _statuses(
        tx, _levels(Budget.rule_id == BudgetRule.id).where(Budget.id.in_(ids or []))
    )
    return sorted(levels, key=lambda level: SCOPES.index(level.scope))


def refusal(asked: NanoUSD, levels: Sequence[BudgetStatus]) -> BudgetExceeded:
    """The refusal of an amount that did not fit: it names the level with the least room.

    Of several it is the one that lasts longest: before that ends, no other would help.
    """
    if not levels:
        return BudgetExceeded("key", asked, NanoUSD(0))
    # Whole seconds, as the caller is told them; of equals the widest.
    tightest = min(levels, key=lambda level: (level.available, -int(level.period_end.timestamp())))
    return BudgetExceeded(tightest.scope, asked, tightest.available, tightest.resets_at_s)


async def path(tx: WriteTx, account: Account) -> list[str]:
    """The budget rows that a hold made now must fit, opened where a new period has begun.

    An account without any budget may spend nothing, so a key is never made without one. Raises
    DoesNotFit.
    """
    opened: list[str] = []
    for rule_id, open_id in (await tx.execute(_PATH, _whose(account))).all():
        opened.append(open_id or await _open(tx, rule_id))
    if not opened:
        raise DoesNotFit
    return sorted(opened)


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


async def _open(tx: WriteTx, rule_id: str) -> str:
    # Read again and locked, or a limit lowered meanwhile would not bound the period opened here.
    rule = await tx.execute(
        select(BudgetRule.tenant_id, BudgetRule.period, BudgetRule.timezone, BudgetRule.limit_nano)
        .where(BudgetRule.id == rule_id)
        .with_for_update(read=True)
    )
    tenant_id, period, timezone, limit = rule.one()
    start, end = bounds(Period(period), timezone, await now(tx))
    # The id is a function of rule and period, so two replicas that open a period at once agree on
    # it, and the second finds it open. (Both dialects write ON CONFLICT alike.)
    budget_id = f"{rule_id}:{start:%Y%m%dT%H%M}"
    await tx.execute(
        upsert(Budget)
        .values(
            id=budget_id,
            rule_id=rule_id,
            tenant_id=tenant_id,
            period_start=start,
            period_end=end,
            lim=limit,
            posted=0,
            reserved=0,
        )
        .on_conflict_do_nothing()
    )
    return budget_id


def _levels(on: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return select(
        BudgetRule.scope,
        BudgetRule.scope_id,
        BudgetRule.period,
        BudgetRule.timezone,
        Budget.period_end,
        func.coalesce(Budget.lim, BudgetRule.limit_nano),
        func.coalesce(Budget.posted, 0),
        func.coalesce(Budget.reserved, 0),
    ).outerjoin(Budget, on)


async def _statuses(
    tx: ReadTx, levels: Select[*tuple[Any, ...]], of: Mapping[str, str | None] = NOBODY
) -> list[BudgetStatus]:
    at = await now(tx)
    return [_status(row, at) for row in (await tx.execute(levels, of)).all()]


def _status(row: Row[*tuple[Any, ...]], at: datetime) -> BudgetStatus:
    scope, scope_id, period, timezone, period_end, limit, posted, reserved = row
    ends = bounds(Period(period), timezone, at)[1] if period_end is None else period_end
    return BudgetStatus(scope, scope_id, Period(period), timezone, ends, limit, posted, reserved)


def _is_current() -> ColumnElement[bool]:
    return and_(
        Budget.rule_id == BudgetRule.id,
        Budget.period_start <= Clock(),
        Budget.period_end > Clock(),
    )


def _of_account() -> ColumnElement[bool]:
    return or_(
        *(
            and_(BudgetRule.scope == scope, BudgetRule.scope_id == bindparam(scope))
            for scope in SCOPES
        )
    )


def _whose(account: Account) -> Mapping[str, str | None]:
    return dict.fromkeys(SCOPES) | dict(account.scopes())


def _release() -> Update:
    used = Budget.posted + Budget.reserved + bindparam("spent") - bindparam("held")
    target = select(BudgetRule.limit_nano).where(BudgetRule.id == Budget.rule_id).scalar_subquery()
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
_OF_ACCOUNT: Final = _of_account()
_PATH: Final = (
    select(BudgetRule.id, func.coalesce(Budget.id, ""))
    .outerjoin(Budget, _is_current())
    .where(_OF_ACCOUNT)
    .order_by(BudgetRule.id)  # all open periods in one order, so that none deadlock
)
_RESERVE: Final = (
    update(Budget)
    .where(Budget.id == bindparam("budget"))
    .values(reserved=Budget.reserved + bindparam("held"))
)
_RELEASE: Final = _release()
