"""Standing limits: what an operator allows a scope a period, and what becomes of open periods."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.engine import ReadTx, WriteTx
from app.ids import OrgId, TenantId, uuid7
from app.ledger.periods import Period
from app.ledger.raises import apply
from app.ledger.tables import BudgetRule
from app.money import NanoUSD


async def set_rule(
    tx: WriteTx,
    *,
    owner: TenantId | OrgId,
    scope: str,
    scope_id: str,
    period: Period,
    timezone: str,
    limit: NanoUSD,
    single_from: int | None = None,
) -> None:
    """Give a scope a limit a period, in place of the one it has for such periods.

    The current period follows at once, though never below what it has spent and holds.
    """
    rule = (
        upsert(BudgetRule)
        .values(
            id=f"rul_{uuid7().hex}",
            tenant_id=owner,
            scope=scope,
            scope_id=scope_id,
            period=period,
            timezone=timezone,
            limit_nano=limit,
            single_from=single_from,
        )
        .on_conflict_do_update(
            index_elements=["scope", "scope_id", "period"],
            set_={"limit_nano": limit, "timezone": timezone, "single_from": single_from},
        )
        .returning(BudgetRule.id)
    )
    rule_id = await tx.scalar(rule)
    assert rule_id is not None, "an upsert returns its row"
    await apply(tx, rule_id)


async def rules_of(tx: ReadTx, *, scope: str, scope_id: str) -> Mapping[Period, str]:
    """The ids of a scope's limits, by the kind of period."""
    rules = select(BudgetRule.period, BudgetRule.id).where(
        BudgetRule.scope == scope, BudgetRule.scope_id == scope_id
    )
    return {Period(period): rule_id for period, rule_id in (await tx.execute(rules)).all()}
