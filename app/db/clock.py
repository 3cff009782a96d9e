"""The database's clock, so that replicas whose own clocks differ agree on periods and leases."""

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Float, String, literal, select
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


class Ago(FunctionElement[datetime]):
    """The time so many seconds before the statement runs; negative for a time to come."""

    type = Instant()
    inherit_cache = True

    def __init__(self, seconds: float | BindParameter[float | None]) -> None:
        """`seconds` may be bound later; bound to nothing, the time is none either."""
        bound = literal(seconds, Float()) if isinstance(seconds, float | int) else seconds
        super().__init__(bound)


@compiles(Ago, "sqlite")
def _ago_on_sqlite(element: Ago, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', (-1.0 * {seconds}) || ' seconds')"


@compiles(Ago, "postgresql")
def _ago_on_postgresql(element: Ago, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    seconds = compiler.process(element.clauses, **options)
    return f"clock_timestamp() - make_interval(secs => {seconds})"


class MonthOf(FunctionElement[str]):
    """The calendar month of an instant, in UTC, written YYYY-MM."""

    type = String()
    inherit_cache = True

    def __init__(self, instant: ColumnElement[datetime]) -> None:
        super().__init__(instant)


@compiles(MonthOf, "sqlite")
def _month_on_sqlite(element: MonthOf, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"substr({compiler.process(element.clauses, **options)}, 1, 7)"


@compiles(MonthOf, "postgresql")
def _month_on_postgresql(element: MonthOf, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    instant = compiler.process(element.clauses, **options)
    return f"to_char({instant} AT TIME ZONE 'UTC', 'YYYY-MM')"


async def now(tx: ReadTx) -> datetime:
    """The database's time, for what has to be computed from it here."""
    found = await tx.scalar(select(Clock()))
    assert isinstance(found, datetime)
    return found
