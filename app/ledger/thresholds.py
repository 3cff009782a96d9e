"""The operator's thresholds: at which share of a budget whom to tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Clock
from app.db.engine import ReadTx, WriteTx
from app.errors import InvalidRequest
from app.ids import uuid7
from app.ledger.alert_tables import AlertRule
from app.ledger.periods import Period
from app.ledger.tables import BudgetRule
from app.notices.addresses import origin
from app.notices.notice import Channel

DESTINATION_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Threshold:
    """When to tell whom. Raises InvalidRequest for what is no share or no destination."""

    at_percent: int
    channel: Channel
    destination: str

    def __post_init__(self) -> None:
        if not 1 <= self.at_percent <= 100:
            raise InvalidRequest("at", "a share of the limit from 0.01 to 1, in whole hundredths")
        if len(self.destination) > DESTINATION_LENGTH_MAX:
            raise InvalidRequest(self.channel, f"at most {DESTINATION_LENGTH_MAX} characters")
        if self.channel is not Channel.EMAIL:
            if origin(self.destination) is None:
                raise InvalidRequest(self.channel, "an http:// or https:// URL")
            return
        name, _, domain = self.destination.partition("@")
        plain = self.destination.isascii() and self.destination.isprintable()
        if not (name and domain and plain) or set(self.destination) & set(' ,;:<>()[]\\"'):
            raise InvalidRequest(self.channel, "an address such as cfo@acme.example")


async def set_alert(
    tx: WriteTx,
    threshold: Threshold,
    *,
    scope: str,
    scope_id: str,
    period: Period | None,
    label: str,
) -> int:
    """Alert on the scope's budget for that period, or on each of its budgets; how many those are.

    Set again it stays as it is. `label` says to people whose budget it is.
    """
    rules = await _rules(tx, scope, scope_id, period)
    for rule_id in rules:
        row = upsert(AlertRule).values(
            id=f"alr_{uuid7().hex}",
            rule_id=rule_id,
            label=label,
            at_percent=threshold.at_percent,
            channel=threshold.channel,
            destination=threshold.destination,
            created_at=Clock(),
        )
        await tx.execute(row.on_conflict_do_nothing())
    return len(rules)


async def unset_alert(
    tx: WriteTx, threshold: Threshold, *, scope: str, scope_id: str, period: Period | None
) -> int:
    """Alert no more; how many alerts that were."""
    rules = await _rules(tx, scope, scope_id, period)
    gone = await tx.scalars(
        delete(AlertRule)
        .where(
            AlertRule.rule_id.in_(rules),
            AlertRule.at_percent == threshold.at_percent,
            AlertRule.channel == threshold.channel,
            AlertRule.destination == threshold.destination,
        )
        .returning(AlertRule.id)
    )
    return len(gone.all())


async def _rules(tx: ReadTx, scope: str, scope_id: str, period: Period | None) -> Sequence[str]:
    rules = select(BudgetRule.id).where(BudgetRule.scope == scope, BudgetRule.scope_id == scope_id)
    if period is not None:
        rules = rules.where(BudgetRule.period == period)
    return (await tx.scalars(rules)).all()
