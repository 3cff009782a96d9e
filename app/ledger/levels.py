"""Budgets as they stand: what each level allows, has spent and holds, and which of them refuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, case, func, select

from app.db.clock import now
from app.db.engine import ReadTx
from app.ids import OrgId, SolveId, TenantId
from app.ledger.budgets import (
    OF_ACCOUNT,
    SCOPES,
    TEN_THOUSAND,
    Account,
    is_current,
    quota,
    resets_at_s,
    whose,
)
from app.ledger.periods import Period, bounds
from app.ledger.quotas import Quota
from app.ledger.raises import is_outdated, raised_now
from app.ledger.refusals import BudgetExceeded, LadderReached
from app.ledger.tables import Budget, BudgetRule, Solve
from app.money import NanoUSD


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
    single_from: int | None = None

    @property
    def ladder(self) -> LadderReached | None:
        """Why only single calls are begun now; None where others are."""
        if self.single_from is None:
            return None
        used = self.posted + self.reserved
        reached = used > 0 and used * float(TEN_THOUSAND) >= float(self.limit) * self.single_from
        if not reached:
            return None
        return LadderReached(self.scope, at=self.single_from, resets_at_s=self.resets_at_s)

    @property
    def quota(self) -> Quota:
        """What callers are told of it."""
        return quota(
            self.scope, self.period, limit=self.limit, left=self.available, ends=self.period_end
        )

    @property
    def available(self) -> NanoUSD:
        """What a further hold may take."""
        return NanoUSD(self.limit - self.posted - self.reserved)

    @property
    def resets_at_s(self) -> int | None:
        """The Unix time at which the next period starts; None where there is none."""
        return resets_at_s(self.period_end)


NOBODY: Final[Mapping[str, str | None]] = {"session_name": ""}


async def statuses(tx: ReadTx, account: Account) -> list[BudgetStatus]:
    """The current period of each budget, widest scope first; one not yet opened is untouched."""
    order = [scope for scope, _ in account.scopes()]
    levels = await _statuses(tx, _levels(is_current()).where(OF_ACCOUNT), whose(account))
    return sorted(levels, key=lambda level: order.index(level.scope))


async def current_levels(tx: ReadTx, owner: TenantId | OrgId) -> list[BudgetStatus]:
    """The current period of every standing budget of a tenant or an organisation, oldest first."""
    standing = BudgetRule.tenant_id == owner, BudgetRule.scope != "batch"
    levels = _levels(is_current()).where(*standing)
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
    return BudgetExceeded(
        tightest.scope,
        asked,
        tightest.available,
        tightest.resets_at_s,
        quotas=[tightest.quota],
    )


def _levels(on: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return select(
        BudgetRule.scope,
        BudgetRule.scope_id,
        BudgetRule.period,
        BudgetRule.timezone,
        Budget.period_end,
        limit_now(),
        func.coalesce(Budget.posted, 0),
        func.coalesce(Budget.reserved, 0),
        BudgetRule.single_from,
    ).outerjoin(Budget, on)


def limit_now() -> ColumnElement[NanoUSD]:
    """The limit as the next hold would find it, where the query has the budget and its rule."""
    used, limit = Budget.posted + Budget.reserved, BudgetRule.limit_nano + raised_now()
    return case(
        (Budget.id.is_(None), limit),
        (is_outdated(), case((used > limit, used), else_=limit)),
        else_=Budget.lim,
    )


async def _statuses(
    tx: ReadTx, levels: Select[*tuple[Any, ...]], of: Mapping[str, str | None] = NOBODY
) -> list[BudgetStatus]:
    at = await now(tx)
    return [_status(row, at) for row in (await tx.execute(levels, of)).all()]


def _status(row: Row[*tuple[Any, ...]], at: datetime) -> BudgetStatus:
    scope, scope_id, period, timezone, period_end, *amounts = row
    ends = bounds(Period(period), timezone, at)[1] if period_end is None else period_end
    return BudgetStatus(scope, scope_id, Period(period), timezone, ends, *amounts)
