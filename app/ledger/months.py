"""Calendar months in UTC: what a statement is of. Pure: the instant is handed in."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.errors import InvalidRequest

MONTH: Final = r"^2\d{3}-(0[1-9]|1[0-2])$"
"""How a month is written: 2026-11."""


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, in UTC."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> "Month":
        """The month written YYYY-MM. Raises InvalidRequest for what is none."""
        if re.match(MONTH, text) is None or not text.isascii():
            raise InvalidRequest("month", f"{text!r} is no month: write it as 2026-11")
        year, _, number = text.partition("-")
        return cls(int(year), int(number))

    @classmethod
    def of(cls, at: datetime) -> "Month":
        """The month that contains the instant."""
        utc = at.astimezone(UTC)
        return cls(utc.year, utc.month)

    @property
    def start(self) -> datetime:
        """Its first instant."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first instant after it."""
        return (self.start + timedelta(days=32)).replace(day=1)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"
