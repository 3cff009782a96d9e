"""The database's clock, so that replicas whose own clocks differ agree on periods and leases."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.db.base import Instant
from app.db.engine import ReadTx


class Clock(FunctionElement[datetime]):
    """The time at which the statement runs."""

    type = Instant()
    inherit_cache = True


@compiles(Clock, "sqlite")
def _on_sqlite(_element: Clock, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401
    # SQLite keeps milliseconds; the zeros make it as long as every other Instant, so it sorts.
    return "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"


@compiles(Clock, "postgresql")
def _on_postgresql(_element: Clock, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401
    return "clock_timestamp()"


async def now(tx: ReadTx) -> datetime:
    """The database's time, for what has to be computed from it here."""
    found = await tx.scalar(select(Clock()))
    assert isinstance(found, datetime)
    return found
