"""What an alert says, in the form that its channel takes. Facts in, a document out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.ledger.periods import Period
from app.money import NanoUSD, to_usd
from app.notices.notice import Channel

EVENT: Final = "budget.alert"


@dataclass(frozen=True, slots=True)
class Reached:
    """A period of a budget that has come to a threshold, and whom to tell; `label` is whose.

    `session` is the one that the budget is of; empty for any other budget.
    """

    label: str
    at_percent: int
    channel: Channel
    destination: str
    tenant_id: str
    scope: str
    scope_id: str
    period: Period
    timezone: str
    budget_id: str
    spent: NanoUSD
    limit: NanoUSD
    period_end: datetime
    at: datetime
    session: str = ""

    @property
    def whose(self) -> str:
        """The label, and of many sessions under one label which."""
        return f"{self.label} ({self.session})" if self.session else self.label


def document(reached: Reached) -> dict[str, Any]:
    """The body as its channel takes it."""
    match reached.channel:
        case Channel.WEBHOOK:
            return {"type": EVENT, "timestamp": _instant(reached.at), "data": _facts(reached)}
        case Channel.SLACK:
            return {"text": _sentence(reached)}
        case Channel.EMAIL:
            subject = f"Fathom: {reached.at_percent} % of a budget is spent ({reached.whose})"
            return {"subject": subject, "text": _sentence(reached) + "\n"}


def _facts(reached: Reached) -> dict[str, Any]:
    total = reached.period is Period.TOTAL
    session = {"session": reached.session} if reached.session else {}
    return session | {
        "budget": reached.label,
        "scope": reached.scope,
        "scope_id": reached.scope_id,
        "period": reached.period,
        "timezone": reached.timezone,
        "resets_at": None if total else int(reached.period_end.timestamp()),
        "at_percent": reached.at_percent,
        "limit_usd": to_usd(reached.limit),
        "spent_usd": to_usd(reached.spent),
    }


def _sentence(reached: Reached) -> str:
    spent, limit = reached.spent, reached.limit
    share = 100 * spent // limit
    said = f"Fathom: {reached.whose} has spent ${to_usd(spent)} of ${to_usd(limit)} ({share} %)"
    if reached.period is Period.TOTAL:
        return f"{said}."
    anew = reached.period_end.astimezone(ZoneInfo(reached.timezone))
    when = f"{anew:%Y-%m-%d %H:%M} {reached.timezone}"
    return f"{said} this {reached.period}; its budget starts anew at {when}."


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
