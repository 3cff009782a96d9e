"""A provider's own usage report, read: what it says it charged, a request or an hour a row. Pure.

Columns, in CSV by its heading and in JSON as the members of a list of objects: `cost_usd`, and
`request_id` or both `model` and `time` (of an hour, its beginning; UTC where nothing else is said);
`key` where it is known. Other columns, such as tokens, are not read: it is the cost that is owed.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, DecimalException
from enum import StrEnum
from typing import Any, Final

import msgspec

from app.errors import InvalidRequest
from app.money import NANO_PER_USD, NANO_USD_MAX, NanoUSD

TEXTS: Final = ("request_id", "key", "model", "time")
TEXT_MAX: Final = 128
"""Characters of a name, as the journal keeps them."""


_JSON: Final = msgspec.json.Decoder(list[dict[str, Any]], float_hook=Decimal)


class ReportFormat(StrEnum):
    """How a report is written."""

    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A charge as its provider tells it; `cost` in dollars, as exact as it was written."""

    cost: Decimal
    request_id: str | None = None
    key: str | None = None
    model: str | None = None
    at: datetime | None = None

    @property
    def hour(self) -> datetime | None:
        """The beginning of the hour that it was charged for."""
        return None if self.at is None else hour_of(self.at)


def hour_of(at: datetime) -> datetime:
    """The beginning of an instant's hour, in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def total(rows: Iterable[ReportRow]) -> NanoUSD:
    """What rows charge together, rounded up once to a nano-dollar.

    Raises InvalidRequest for more than any amount kept here.
    """
    dollars = sum((row.cost for row in rows), Decimal(0))
    nano = int((dollars * NANO_PER_USD).to_integral_value(ROUND_CEILING))
    if abs(nano) > NANO_USD_MAX:
        raise InvalidRequest("report", f"larger than any amount kept here: {dollars}")
    return NanoUSD(nano)


def read_report(text: str, form: ReportFormat) -> Sequence[ReportRow]:
    """The rows of a report. Raises InvalidRequest, naming the row that cannot be read."""
    return [_row(number, facts) for number, facts in enumerate(_records(text, form), start=1)]


def _records(text: str, form: ReportFormat) -> Sequence[Mapping[str, Any]]:
    if form is ReportFormat.CSV:
        return list(csv.DictReader(io.StringIO(text)))
    try:
        return _JSON.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest("report", f"is no list of objects: {error}") from None


def _row(number: int, facts: Mapping[str, Any]) -> ReportRow:
    said = {name: _text(number, name, facts.get(name)) for name in TEXTS}
    row = ReportRow(
        cost=_cost(number, facts.get("cost_usd")),
        request_id=said["request_id"],
        key=said["key"],
        model=said["model"],
        at=_instant(number, said["time"]),
    )
    if row.request_id is None and (row.model is None or row.at is None):
        raise InvalidRequest("report", f"row {number}: needs a request_id, or model and time")
    return row


def _text(number: int, name: str, value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    if not text.isprintable() or len(text) > TEXT_MAX:
        raise InvalidRequest("report", f"row {number}: {name} is no name that anything has")
    return text or None


def _cost(number: int, value: object) -> Decimal:
    try:
        cost = Decimal(str(value).strip())
    except DecimalException:
        raise InvalidRequest("report", f"row {number}: cost_usd is {value!r}") from None
    if not cost.is_finite() or abs(cost) * NANO_PER_USD > NANO_USD_MAX:
        raise InvalidRequest("report", f"row {number}: cost_usd is {value!r}")
    return cost


def _instant(number: int, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest("report", f"row {number}: time is {text!r}") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
