"""What must hold of what is told: only what has happened."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Float, Select, cast, func, literal, select

from app.ledger.alert_tables import Alert
from app.ledger.tables import Solve
from app.notices.tables import OutboxRow

Query = Select[*tuple[Any, ...]]


def _told_before_its_end() -> Query:
    joined = select(OutboxRow.id).outerjoin(
        Solve, Solve.id == literal("slv_") + func.substr(OutboxRow.id, len("msg_") + 1)
    )
    return joined.where(OutboxRow.event.startswith("solve."), Solve.completed_at.is_(None))


def _alerted_too_early() -> Query:
    share = cast(Alert.spent, Float) / cast(Alert.lim, Float)
    return select(Alert.notice_id).where(
        Alert.lim > 0, share < cast(Alert.at_percent, Float) / literal(100.0, Float())
    )


QUERIES: Final[Mapping[str, Query]] = {
    "an end is told of solves that have ended": _told_before_its_end(),
    "an alert tells of a threshold that was reached": _alerted_too_early(),
}
