"""Limits and their periods: which budget rows a solve draws on, and whether an amount fits.

There is no reset job. A period is a row of its own, so a new one starts empty by existing, and a
hold belongs to the period that admitted it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db.clock import Clock, now
from app.db.engine import ReadTx, WriteTx
from app.ids import KeyId, TenantId, uuid7
from app.ledger.periods import Period, bounds
from app.ledger.refusals import BudgetExceeded
from app.ledger.tables import Budget, BudgetRule
from app.money import NanoUSD


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays: the budgets of each of these scopes must admit every hold."""

    tenant_id: TenantId
    key_id: KeyId

    def scopes(self) -> Sequence[tuple[str, str]]:
        """(scope, id) from the widest to the narrowest."""
        return (("tenant", self.tenant_id), ("key", self.key_id))


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One period of one budget, as it stands; amounts in nano-dollars."""

    id: str
    scope: str
    scope_id: str
    period: Period
    period_end: datetime
    limit: NanoUSD
    posted: NanoUSD
    reserved: NanoUSD

    @property
    def available(self) -> NanoUSD:
        """What a further hold may take."""
        return NanoUSD(self.limit - self.posted - self.reserved)


class DoesNotFit(Exception):
    """A CHECK refused the amount and aborted the transaction; a new one can say which level did."""


async def add_rule(
    tx: WriteTx,
    *,
    tenant_id: TenantId,
    scope: str,
    scope_id: str,
    period: Period,
    timezone: str,
    limit: NanoUSD,
) -> None:
    """Give a scope a limit a period."""
    await tx.execute(
        insert(BudgetRule).values(
            id=f"rul_{uuid7().hex}",
            tenant_id=tenant_id,
            scope=scope,
            scope_id=scope_id,
            period=period,
            timezone=timezone,
            limit_nano=limit,
        )
    )


async def statuses(tx: ReadTx, account: Account) -> list[BudgetStatus]:
    """The current period rows, widest scope first; a period not yet opened is absent."""
    found = await tx.execute(
        select(
            Budget.id,
            BudgetRule.scope,
            BudgetRule.scope_id,
            BudgetRule.period,
            Budget.period_end,
            Budget.lim,
            Budget.posted,
            Budget.reserved,
        )
        .join(Budget, Budget.rule_id == BudgetRule.id)
        .where(_of(account), Budget.period_start <= Clock(), Budget.period_end > Clock())
    )
    order = [scope for scope, _ in account.scopes()]
    rows = [
        BudgetStatus(i, s, sid, Period(p), end, lim, posted, reserved)
        for i, s, sid, p, end, lim, posted, reserved in found
    ]
    return sorted(rows, key=lambda row: (order.index(row.scope), row.id))


async def path(tx: WriteTx, account: Account) -> list[str]:
    """The budget rows that a hold made now must fit, opened where a new period has begun.

    An account without any budget may spend nothing, so a key is never made without one.
    """
    rules = (
        await tx.execute(
            select(
                BudgetRule.id,
                BudgetRule.period,
                BudgetRule.timezone,
                BudgetRule.limit_nano,
                func.coalesce(Budget.id, ""),
            )
            .outerjoin(
                Budget,
                and_(
                    Budget.rule_id == BudgetRule.id,
                    Budget.period_start <= Clock(),
                    Budget.period_end > Clock(),
                ),
            )
            .where(_of(account))
        )
    ).all()
    opened: list[str] = []
    for rule_id, period, timezone, limit, open_id in rules:
        if open_id:
            opened.append(open_id)
            continue
        span = bounds(Period(period), timezone, await now(tx))
        opened.append(await _open(tx, rule_id, account.tenant_id, span=span, limit=limit))
    if not opened:
        raise BudgetExceeded("key", NanoUSD(0), NanoUSD(0))
    return sorted(opened)


async def reserve(tx: WriteTx, budgets: Sequence[str], amount: NanoUSD) -> None:
    """Hold `amount` on every level, or on none.

    Unconditional on purpose: a conditional UPDATE would reserve on the levels that fit and skip the
    one that does not; here its CHECK aborts the whole transaction. Raises DoesNotFit.
    """
    try:
        await tx.execute(
            update(Budget).where(Budget.id.in_(budgets)).values(reserved=Budget.reserved + amount)
        )
    except IntegrityError as error:
        raise DoesNotFit from error


async def release(tx: WriteTx, budgets: Sequence[str], *, hold: NanoUSD, posted: NanoUSD) -> None:
    """End a hold: what was spent is posted, the rest is free again."""
    await tx.execute(
        update(Budget)
        .where(Budget.id.in_(budgets))
        .values(reserved=Budget.reserved - hold, posted=Budget.posted + posted)
    )


async def _open(
    tx: WriteTx,
    rule_id: str,
    tenant_id: TenantId,
    *,
    span: tuple[datetime, datetime],
    limit: NanoUSD,
) -> str:
    start, end = span
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


def _of(account: Account) -> ColumnElement[bool]:
    return or_(
        *(
            and_(BudgetRule.scope == scope, BudgetRule.scope_id == scope_id)
            for scope, scope_id in account.scopes()
        )
    )
