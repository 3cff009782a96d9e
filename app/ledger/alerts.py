"""Soft thresholds: when so much of a budget's period is spent, somebody is told, once.

Never on the way of a request: whichever process looks first writes down that it told, and the
notice with it; the unique row makes it once. What is held counts for nothing, for a hold may end as
nothing, and an alert cannot be taken back.
"""

import asyncio
from typing import Any, Final

import msgspec
from sqlalchemy import Float, RowMapping, Select, and_, cast, func, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Ago, Clock
from app.db.engine import Database, WriteTx
from app.db.repeating import repeat
from app.ids import TenantId
from app.ledger.alert_tables import Alert, AlertRule
from app.ledger.alert_texts import EVENT, Reached, document
from app.ledger.levels import limit_now
from app.ledger.periods import Period
from app.ledger.tables import Budget, BudgetRule
from app.notices.notice import Channel, Notice, notice_id
from app.notices.outbox import put
from app.telemetry.readiness import Drain

EVERY_S: Final = 5.0
AT_ONCE_MAX: Final = 100

LOOK_BACK_S: Final = 3600.0
"""A period that has just ended is looked at too, or its last minutes would be told to nobody."""


class Alerts:
    """Looks for budgets that have come to a threshold, over and over."""

    def __init__(self, *, database: Database, drain: Drain) -> None:
        self._db, self._drain = database, drain

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set."""
        await repeat("budget alerts", self.tell, every_s=EVERY_S, stop=stop, drain=self._drain)

    async def tell(self) -> bool:
        """Write down and put into the outbox what is due now; whether there may be more."""
        async with self._db.glance() as tx:
            due = [_reached(row) for row in (await tx.execute(_DUE)).mappings()]
        if not due:
            return False

        async def work(tx: WriteTx) -> None:
            made = [await _told_first(tx, reached) for reached in due]
            await put(tx, [notice for notice in made if notice is not None])

        await self._db.write(work)
        return len(due) == AT_ONCE_MAX


async def _told_first(tx: WriteTx, reached: Reached) -> Notice | None:
    """The notice to send, unless another process was quicker."""
    made = notice_id()
    first = await tx.scalar(
        upsert(Alert)
        .values(
            notice_id=made,
            budget_id=reached.budget_id,
            at_percent=reached.at_percent,
            channel=reached.channel,
            destination=reached.destination,
            spent=reached.spent,
            lim=reached.limit,
            told_at=Clock(),
        )
        .on_conflict_do_nothing()
        .returning(Alert.notice_id)
    )
    if first is None:
        return None
    return Notice(
        id=made,
        tenant_id=TenantId(reached.tenant_id),
        channel=reached.channel,
        destination=reached.destination,
        event=EVENT,
        body=msgspec.json.encode(document(reached)).decode(),
        trusted=True,
    )


def _reached(row: RowMapping) -> Reached:
    facts: dict[str, Any] = {str(name): value for name, value in row.items()}
    facts["channel"], facts["period"] = Channel(facts["channel"]), Period(facts["period"])
    return Reached(**facts)


def _due() -> Select[*tuple[Any, ...]]:
    # A share and not a product: nano-dollars times a hundred may not fit.
    # A raise that has ended counts for nothing, though nobody has held since.
    limit = limit_now()
    share = cast(Budget.posted, Float) / cast(func.nullif(limit, 0), Float)
    told = (
        select(Alert.notice_id)
        .where(
            Alert.budget_id == Budget.id,
            Alert.at_percent == AlertRule.at_percent,
            Alert.channel == AlertRule.channel,
            Alert.destination == AlertRule.destination,
        )
        .correlate(Budget, AlertRule)
        .exists()
    )
    is_recent = and_(Budget.period_end > Ago(LOOK_BACK_S), Budget.period_end > AlertRule.created_at)
    return (
        select(
            AlertRule.label,
            AlertRule.at_percent,
            AlertRule.channel,
            AlertRule.destination,
            BudgetRule.tenant_id,
            BudgetRule.scope,
            BudgetRule.scope_id,
            BudgetRule.period,
            BudgetRule.timezone,
            Budget.id.label("budget_id"),
            Budget.posted.label("spent"),
            limit.label("limit"),
            Budget.period_end,
            Clock().label("at"),
            Budget.session,
        )
        .join(BudgetRule, BudgetRule.id == AlertRule.rule_id)
        .join(Budget, Budget.rule_id == BudgetRule.id)
        .where(is_recent, limit > 0)
        .where(share >= cast(AlertRule.at_percent, Float) / literal(100.0, Float()))
        .where(~told)
        .limit(AT_ONCE_MAX)
    )


_DUE: Final = _due()
