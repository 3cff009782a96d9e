"""What the ledger stands at now, for the operator's gauges: a few sums, each from an index."""

from collections.abc import Collection

from sqlalchemy import Float, and_, case, cast, func, select

from app.db.clock import Clock
from app.db.engine import ReadTx
from app.ledger.postings import SUSPENSE, CallState
from app.ledger.tables import Budget, BudgetRule, Call, Entry, Solve
from app.money import NanoUSD
from app.notices import outbox
from app.telemetry.metrics import BudgetLevel, Standing


async def standing(tx: ReadTx, *, apart: Collection[str]) -> Standing:
    """Solves, holds, orphans and budgets; tenants that are not `apart` are added up under None."""
    open_solves = select(func.count(), func.coalesce(func.sum(Solve.hold), 0)).where(
        Solve.completed_at.is_(None)
    )
    inflight, holds = (await tx.execute(open_solves)).one()
    # By way of the entries, whose accounts are indexed: an orphan that could have cost nothing
    # has none, and nothing to be reconciled either; one whose cost came late is reconciled.
    orphans = (
        select(func.count(func.distinct(Call.id)))
        .join(Entry, Entry.call_id == Call.id)
        .where(Entry.account == SUSPENSE, Call.state == CallState.ORPHAN, Call.late_cost.is_(None))
    )
    notices = await outbox.counts(tx)
    return Standing(
        inflight=inflight,
        holds=NanoUSD(int(holds)),
        orphans=await tx.scalar(orphans) or 0,
        budgets=await _budgets(tx, apart),
        notices_pending=notices[outbox.PENDING],
        notices_dead=notices[outbox.DEAD],
    )


async def _budgets(tx: ReadTx, apart: Collection[str]) -> tuple[BudgetLevel, ...]:
    tenant = case((BudgetRule.tenant_id.in_(apart), BudgetRule.tenant_id), else_=None)
    # A rule whose period nobody has opened yet has spent nothing of it.
    limit = func.coalesce(Budget.lim, BudgetRule.limit_nano)
    posted, reserved = func.coalesce(Budget.posted, 0), func.coalesce(Budget.reserved, 0)
    used = cast(posted + reserved, Float) / func.nullif(limit, 0)
    period_is_open = and_(
        Budget.rule_id == BudgetRule.id,
        Budget.period_start <= Clock(),
        Budget.period_end > Clock(),
    )
    query = (
        select(
            tenant,
            BudgetRule.scope,
            BudgetRule.period,
            func.sum(limit),
            func.sum(posted),
            func.sum(reserved),
            # What allows nothing is used up.
            func.max(func.coalesce(used, 1.0)),
        )
        .outerjoin(Budget, period_is_open)
        # One a session or a batch, whose one period never ends: too many to look at each time.
        .where(BudgetRule.scope.not_in(("session", "batch")))
        .group_by(tenant, BudgetRule.scope, BudgetRule.period)
    )
    return tuple(
        BudgetLevel(
            tenant_id=tenant_id,
            scope=scope,
            period=period,
            limit=NanoUSD(int(allowed)),
            spent=NanoUSD(int(spent)),
            reserved=NanoUSD(int(held)),
            used=float(share),
        )
        for tenant_id, scope, period, allowed, spent, held, share in await tx.execute(query)
    )
