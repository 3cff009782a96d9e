"""Exported charges as text: CSV, JSON lines, or CSV in the columns of FOCUS. Pure."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC
from enum import StrEnum
from typing import Any, Final

import msgspec

from app.api.focus import COLUMNS as FOCUS_COLUMNS
from app.api.focus import focus_record
from app.ledger.exports import ChargeRow
from app.money import to_usd

COLUMNS: Final = (
    *(field.name for field in fields(ChargeRow) if field.name != "amount"),
    "amount_usd",
)


class ExportFormat(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSONL = "jsonl"
    FOCUS = "focus"

    @property
    def media_type(self) -> str:
        """Its name over HTTP."""
        return "application/x-ndjson" if self is ExportFormat.JSONL else "text/csv; charset=utf-8"

    @property
    def suffix(self) -> str:
        """How a file of it is called."""
        return "jsonl" if self is ExportFormat.JSONL else "csv"


def heading(form: ExportFormat) -> str:
    """What comes before the first row."""
    match form:
        case ExportFormat.JSONL:
            return ""
        case ExportFormat.CSV:
            return _csv([COLUMNS])
        case ExportFormat.FOCUS:
            return _csv([FOCUS_COLUMNS])


def written(form: ExportFormat, rows: Sequence[ChargeRow], names: Mapping[str, str]) -> str:
    """Rows as text; `names` are those of the tenants. What is unknown is left empty."""
    match form:
        case ExportFormat.JSONL:
            return "".join(f"{msgspec.json.encode(_record(row)).decode()}\n" for row in rows)
        case ExportFormat.CSV:
            return _csv([_cells(COLUMNS, _record(row)) for row in rows])
        case ExportFormat.FOCUS:
            return _csv([_cells(FOCUS_COLUMNS, focus_record(row, names)) for row in rows])


def _record(row: ChargeRow) -> dict[str, Any]:
    """The row in our own columns; its amount in dollars, what the tenant owes by it."""
    facts = asdict(row)
    for name in ("posted_at", "called_at"):
        at = facts[name]
        facts[name] = None if at is None else at.astimezone(UTC).isoformat()
    facts["amount_usd"] = to_usd(facts.pop("amount"))
    return facts


def _cells(columns: Sequence[str], record: Mapping[str, object]) -> Sequence[object]:
    return [record[column] for column in columns]


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
