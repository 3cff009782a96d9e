from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.ledger.periods import FOREVER, Period, bounds

# Beside the common ones: midnight twice (Havana), no midnight (Beirut, Santiago), half an hour of
# summer time (Lord Howe), a day that never was (Apia), and quarters of an hour (Chatham).
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "Asia/Beirut",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Asia/Kolkata",
)
instants = st.integers(
    int(datetime(2005, 1, 1, tzinfo=UTC).timestamp()),
    int(datetime(2040, 1, 1, tzinfo=UTC).timestamp()),
).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
zones = st.sampled_from(ZONES)
calendar = st.sampled_from([Period.HOUR, Period.DAY, Period.WEEK, Period.MONTH])

HAVANA_MIDNIGHT_AGAIN = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@given(calendar, zones, instants)
@example(Period.DAY, "America/Havana", HAVANA_MIDNIGHT_AGAIN)
def test_period_contains_its_instant(period: Period, zone: str, at: datetime) -> None:
    """Start included, end excluded."""
    start, end = bounds(period, zone, at)
    assert start <= at < end


@given(calendar, zones, instants)
@example(Period.DAY, "America/Havana", HAVANA_MIDNIGHT_AGAIN)
@example(Period.MONTH, "America/Havana", HAVANA_MIDNIGHT_AGAIN)
def test_periods_follow_one_another_without_gap_or_overlap(
    period: Period, zone: str, at: datetime
) -> None:
    """Every instant of a period gives the same bounds, and its neighbours touch it."""
    start, end = span = bounds(period, zone, at)
    assert bounds(period, zone, start) == span
    assert bounds(period, zone, end - timedelta(microseconds=1)) == span
    assert bounds(period, zone, end)[0] == end
    assert bounds(period, zone, start - timedelta(microseconds=1))[1] == start


@given(zones, instants)
def test_days_weeks_and_months_start_where_the_date_changes(zone: str, at: datetime) -> None:
    """By the budget's own calendar, whatever its clocks do."""
    for period in (Period.DAY, Period.WEEK, Period.MONTH):
        start, _ = bounds(period, zone, at)
        first = start.astimezone(ZoneInfo(zone))
        before = (start - timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
        assert before.date() < first.date()
        assert period is not Period.WEEK or first.weekday() == 0
        assert period is not Period.MONTH or first.day == 1


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-10-26", 24),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("America/Havana", "2026-11-01", 25),
        ("Asia/Beirut", "2026-03-29", 23),
        ("UTC", "2026-03-29", 24),
    ],
)
def test_day_is_as_long_as_its_clocks_make_it(zone: str, day: str, hours: int) -> None:
    """Seen from any moment of it."""
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
    start, end = bounds(Period.DAY, zone, noon)
    assert end - start == timedelta(hours=hours)
    moments = [start + timedelta(minutes=30 * half) for half in range(2 * hours)]
    assert {bounds(Period.DAY, zone, moment) for moment in moments} == {(start, end)}


@pytest.mark.parametrize(
    ("period", "starts"),
    [
        (Period.MONTH, ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01", "2026-05-01"]),
        (Period.WEEK, ["2026-12-28", "2027-01-04", "2027-01-11"]),
        (Period.DAY, ["2028-02-28", "2028-02-29", "2028-03-01"]),
    ],
)
def test_periods_start_on_the_calendars_days(period: Period, starts: list[str]) -> None:
    """Across a leap day, the turn of a year, and a change of clocks."""
    zone = ZoneInfo("Europe/Berlin")
    days = [datetime.fromisoformat(start).replace(tzinfo=zone) for start in starts]
    for first, following in pairwise(days):
        assert bounds(period, "Europe/Berlin", first) == (first, following)


def test_repeated_local_hour_is_two_periods() -> None:
    """Hours are cut in UTC."""
    at = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, for the first time
    assert bounds(Period.HOUR, "Europe/Berlin", at)[1] == at + timedelta(minutes=30)


@given(zones, instants)
def test_total_never_starts_anew(zone: str, at: datetime) -> None:
    """It is one period."""
    assert bounds(Period.TOTAL, zone, at) == FOREVER


def test_unknown_zone_is_an_error() -> None:
    """Never UTC in its place."""
    with pytest.raises(ZoneInfoNotFoundError):
        bounds(Period.DAY, "Mars/Olympus", datetime.now(UTC))
