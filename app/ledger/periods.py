"""Calendar periods of a budget, in the budget's own time zone. Pure: the instant is handed in."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo


class Period(StrEnum):
    """How often a budget starts anew."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"

    @property
    def usual_s(self) -> int | None:
        """How many seconds such a period usually has; None where it has no end."""
        return USUAL_S.get(self)


USUAL_S: Final = {
    Period.HOUR: 3_600,
    Period.DAY: 86_400,
    Period.WEEK: 7 * 86_400,
    Period.MONTH: 30 * 86_400,
}

FOREVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


def bounds(period: Period, timezone: str, at: datetime) -> tuple[datetime, datetime]:
    """The start (included) and end (excluded), in UTC, of the period that contains `at`.

    Days are calendar days: 23 or 25 hours long when the zone changes its clocks. Weeks start on
    Monday. Raises ZoneInfoNotFoundError for an unknown zone.
    """
    if period is Period.TOTAL:
        return FOREVER
    if period is Period.HOUR:
        # Hours are cut in UTC: a repeated local hour is two periods, not one of two hours.
        start = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return start, start + timedelta(hours=1)
    local = at.astimezone(ZoneInfo(timezone))
    # Where clocks go back over midnight (Havana), a day starts at the first of its two midnights.
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match period:
        case Period.DAY:
            after = first + timedelta(days=1)
        case Period.WEEK:
            first -= timedelta(days=first.weekday())
            after = first + timedelta(days=7)
        case Period.MONTH:
            first = first.replace(day=1)
            after = (first + timedelta(days=32)).replace(day=1)
    return first.astimezone(UTC), after.astimezone(UTC)
