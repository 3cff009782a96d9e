"""SQLite in memory as a driver of SQLAlchemy that runs without threads, one transaction at once.

The statements, the CHECKs and the triggers are real. A transaction waits at its gate before it
begins and runs to its end in one go, as SQLite's own lock would have it; between its commit and the
news of it there is another gate. The database's clock is the simulated one.
"""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only

from app.ids import SolveId
from app.money import NanoUSD
from tests.simulation.world import Line, Verdict, World

LOST: Final = "the connection is lost"

BEYOND: Final = "SELECT id FROM budget WHERE posted + reserved > lim"

TAKEN: Final = "SELECT id, token FROM solve WHERE token > 1"
OPEN: Final = "SELECT id FROM call WHERE solve_id = ? AND state = 'intent'"
BEGUN: Final = """SELECT call.rowid, call.id, solve.owner FROM call
JOIN solve ON solve.id = call.solve_id WHERE call.rowid > ? ORDER BY call.rowid"""

Rewrite = Callable[[str], str]


class Books:
    """The database in memory that one world after another has: what it has been taught stays.

    A world is one transaction, rolled back when it is over, and each transaction in it a savepoint:
    to read the schema and to prepare every statement anew took a third of a world's time.
    """

    def __init__(self, template: bytes) -> None:
        self.raw = sqlite3.connect(":memory:", isolation_level=None, cached_statements=1_000)
        self.raw.deserialize(template)
        self.raw.execute("PRAGMA foreign_keys = ON")
        # SQLite lets a function of ours stand in for one of its own; our statements use this one
        # for the time and nothing else.
        self.raw.create_function("strftime", -1, self._strftime)
        self.world: World | None = None
        self._heeds_checks = True

    def open(self, world: World) -> None:
        """Begin a world, as the template has it."""
        assert self.world is None, "one at a time"
        self.world = world
        self.raw.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """End it without a trace."""
        self.world = None
        self.raw.execute("ROLLBACK")

    def heed_checks(self, *, heeded: bool) -> None:
        """Set what all share only where it changes: each statement is then prepared anew."""
        if heeded != self._heeds_checks:
            self.raw.execute(f"PRAGMA ignore_check_constraints = {int(not heeded)}")
            self._heeds_checks = heeded

    def _strftime(self, layout: str, _now: str, shift: str | None = "0 seconds") -> str | None:
        if shift is None:
            return None  # as SQLite says of a time that is none
        assert layout == "%Y-%m-%dT%H:%M:%f000Z"
        assert self.world is not None
        return _stamp(self.world.database_time_s() + float(shift.split(maxsplit=1)[0]))


@lru_cache(maxsize=8)
def _stamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Store:
    """The one database of a world."""

    def __init__(self, world: World, books: Books) -> None:
        self.world, self._books, self.raw = world, books, books.raw
        self.is_busy = False
        self._tokens: dict[str, int] = {}
        self._last_call = 0
        books.open(world)

    def begin(self, *, checks: bool) -> None:
        """Start a transaction; the one before it has ended."""
        assert not self.is_busy, "transactions do not overlap"
        self._books.heed_checks(heeded=checks)
        self.raw.execute("SAVEPOINT work")
        self.is_busy = True

    def commit(self) -> None:
        """Keep what the transaction did."""
        self.raw.execute("RELEASE work")
        self.is_busy = False

    def judge(self, by: str) -> None:
        """What no transaction of a process may leave behind, however briefly."""
        if self.raw.execute(BEYOND).fetchone() is not None:
            self.world.violated("a budget is beyond its limit")
        for solve_id, token in self.raw.execute(TAKEN).fetchall():
            if token > self._tokens.get(solve_id, 1):
                self._tokens[solve_id] = token
                # Its process cannot report it any more, and the next one asks anew.
                for (call_id,) in self.raw.execute(OPEN, (solve_id,)):
                    self.world.violated(f"{call_id} was left open by a takeover")
        for row, call_id, owner in self.raw.execute(BEGUN, (self._last_call,)).fetchall():
            self._last_call = row
            if owner != by:
                self.world.violated(f"{by} began {call_id} of a solve that is {owner}'s")

    def rollback(self) -> None:
        """Undo what the transaction did."""
        self.raw.execute("ROLLBACK TO work")
        self.commit()

    def close(self) -> None:
        """Forget all of it."""
        self._books.close()

    def allow(self, limit: NanoUSD) -> None:
        """Let the tenant spend so much."""
        self.raw.execute("UPDATE budget_rule SET limit_nano = ?", (limit,))

    def running(self) -> list[SolveId]:
        """The solves that have not ended."""
        query = "SELECT id FROM solve WHERE completed_at IS NULL ORDER BY id"
        return [SolveId(row[0]) for row in self.raw.execute(query)]

    def solves(self) -> list[tuple[str, str | None]]:
        """Every solve, and when it ended."""
        return self.raw.execute("SELECT id, completed_at FROM solve ORDER BY id").fetchall()

    def paid_for(self, call_id: str) -> NanoUSD:
        """What the tenant was charged for a call, however often."""
        query = "SELECT coalesce(sum(amount), 0) FROM entry WHERE call_id = ? AND kind = 'charge'"
        return NanoUSD(self.raw.execute(query + " AND amount > 0", (call_id,)).fetchone()[0])

    def searches(self) -> list[SolveId]:
        """The solves that searched."""
        query = "SELECT DISTINCT solve_id FROM call WHERE ask IS NOT NULL ORDER BY solve_id"
        return [SolveId(row[0]) for row in self.raw.execute(query)]


class Port:
    """Where one process reaches the database; a slot's port changes hands with every world."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.line: Line | None = None
        self.rewrite: Rewrite | None = None
        self.checks = True

    def belong(
        self, store: Store, line: Line, *, rewrite: Rewrite | None = None, checks: bool = True
    ) -> None:
        """Lead a process to its world's database; a mutant's statements are rewritten."""
        self.store, self.line, self.rewrite, self.checks = store, line, rewrite, checks


PORTS: Final[dict[str, Port]] = {}
"""By the name in the URL: engines outlive worlds, for what they have compiled is worth keeping."""


async def _nothing() -> None:
    """What a statement waits for: SQLAlchemy takes a driver that waits for nothing for another."""


class Cursor(sqlite3.Cursor):
    """A cursor whose BEGIN waits at the gate."""

    link: "Link"

    def execute(self, statement: str, parameters: Any = (), /) -> "Cursor":
        if statement.startswith("BEGIN"):
            self.link.begin(is_write=statement == "BEGIN IMMEDIATE")
            return self
        if statement.startswith("PRAGMA"):
            if "=" in statement:
                return self  # the database has settings of its own
        else:
            await_only(_nothing())
        rewrite = self.link.port.rewrite
        super().execute(statement if rewrite is None else rewrite(statement), parameters)
        return self

    async def _async_soft_close(self) -> None:
        """What SQLAlchemy calls when all rows are read."""

    def executemany(self, statement: str, parameters: Any, /) -> "Cursor":
        await_only(_nothing())
        rewrite = self.link.port.rewrite
        super().executemany(statement if rewrite is None else rewrite(statement), parameters)
        return self


class Link:
    """A connection as the driver has it."""

    def __init__(self, port: Port) -> None:
        assert port.store is not None
        assert port.line is not None
        self.port, self._store, self._line = port, port.store, port.line
        self._raw = port.store.raw
        self._is_write = self._is_open = False
        self._verdict = Verdict.DO
        self.isolation_level: str | None = None

    def cursor(self) -> Cursor:
        cursor = Cursor(self._raw)
        cursor.link = self
        return cursor

    def begin(self, *, is_write: bool) -> None:
        world = self._store.world
        kind = "transaction" if is_write else "reading"
        self._verdict = await_only(world.pass_gate(self._line, kind))
        self._is_write = is_write
        if not is_write and self._verdict is Verdict.DIE:
            world.kill(self._line)
            await_only(world.never())
        lost = not is_write and self._verdict is not Verdict.DO
        if lost or world.database_is_down or (self._verdict is Verdict.DROP and self._early()):
            raise sqlite3.OperationalError(LOST)
        self._store.begin(checks=self.port.checks)
        self._is_open = True

    def commit(self) -> None:
        world, verdict = self._store.world, self._verdict
        if not self._is_open:
            return
        self._is_open = False
        if verdict is Verdict.DROP:
            self._store.rollback()
        else:
            self._store.commit()
            if self._is_write:
                self._store.judge(self._line.name)
        if verdict is Verdict.DIE:
            world.kill(self._line)
            await_only(world.never())
        if verdict is not Verdict.DO:
            raise sqlite3.OperationalError(LOST)
        if self._is_write:
            verdict = await_only(world.pass_gate(self._line, "acknowledgement"))
            if verdict is Verdict.DIE:
                world.kill(self._line)
                await_only(world.never())
            if verdict is not Verdict.DO:
                raise sqlite3.OperationalError(LOST)

    def rollback(self) -> None:
        if self._is_open:
            self._is_open = False
            self._store.rollback()

    def close(self) -> None:
        """The database stays open: other links use it."""

    def create_function(self, name: str, arguments: int, function: Any, **how: Any) -> None:
        """What the dialect adds to every connection; our statements need none of it."""

    def _early(self) -> bool:
        # Lost before the first statement, or else after the last one.
        return self._store.world.random.random() < 0.5


class Driver(ModuleType):
    """What the dialect takes for the driver's module."""

    paramstyle = "qmark"
    sqlite_version_info = sqlite3.sqlite_version_info
    sqlite_version = sqlite3.sqlite_version
    Error = sqlite3.Error
    DatabaseError = sqlite3.DatabaseError
    InterfaceError = sqlite3.InterfaceError
    IntegrityError = sqlite3.IntegrityError
    NotSupportedError = sqlite3.NotSupportedError
    OperationalError = sqlite3.OperationalError
    ProgrammingError = sqlite3.ProgrammingError
    DataError = sqlite3.DataError
    InternalError = sqlite3.InternalError
    PARSE_COLNAMES = sqlite3.PARSE_COLNAMES
    PARSE_DECLTYPES = sqlite3.PARSE_DECLTYPES
    Binary = sqlite3.Binary

    def connect(self, name: str, **_options: Any) -> Link:
        return Link(PORTS[name])


class Context(SQLiteExecutionContext):
    """Streams as it reads: everything is in memory."""

    def create_server_side_cursor(self) -> Any:
        return self._dbapi_connection.cursor()


class SimulatedDialect(SQLiteDialect_pysqlite):
    """SQLite behind a gate."""

    driver = "simulated"
    is_async = True
    supports_statement_cache = True
    supports_server_side_cursors = True
    execution_ctx_cls = Context

    @classmethod
    def import_dbapi(cls) -> Any:
        return Driver("simulated")

    @classmethod
    def get_pool_class(cls, url: URL) -> type[AsyncAdaptedQueuePool]:  # noqa: ARG003
        return AsyncAdaptedQueuePool

    def create_connect_args(self, url: URL) -> tuple[Sequence[str], dict[str, Any]]:
        assert url.database is not None
        return [url.database], {}

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        return LOST in str(e)


registry.register("sqlite.simulated", __name__, SimulatedDialect.__name__)
