"""Transactions on SQLite or PostgreSQL: one way to write, one way to read.

A write is a function of a transaction, because it may have to run twice: PostgreSQL resolves a
deadlock by refusing one side, and the refused side starts over. Nothing here waits for anything but
the database, and no caller may wait for a model inside a transaction.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, NewType, TypeVar

import msgspec
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import GatewayError

ReadTx = NewType("ReadTx", AsyncConnection)
WriteTx = NewType("WriteTx", ReadTx)
"""A transaction that may write may also read; the reverse is a type error."""

T = TypeVar("T")

CONNECTIONS: Final = 16
"""To PostgreSQL, a process."""

ATTEMPTS_MAX: Final = 8
"""A deadlock is resolved by starting over; eight times in a row means something else is wrong."""

BUSY_TIMEOUT_MS: Final = 30_000
"""How long SQLite waits for another process's write to end."""

OUTAGE_S: Final = 600.0
"""How long a run waits for a database that is away. Longer, and what it had in flight is taken for
lost: an orphan's cost is the operator's."""

RETRY_S: Final = 0.1
RETRY_MAX_S: Final = 2.0

SERIALIZATION_FAILURES: Final = frozenset({"40001", "40P01"})
"""PostgreSQL, appendix A: serialization_failure and deadlock_detected."""


UNIQUE_VIOLATION: Final = "23505"
SQLITE_DUPLICATES: Final = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")

UNREACHABLE: Final = ("08", "53", "57P", "25006")
"""PostgreSQL, appendix A: connection lost, no resources left, stopping or starting, a standby."""


class DatabaseUnavailable(GatewayError):
    """The database cannot be reached, so nothing may be spent: try again later."""


class Database:
    """The engine, and what each backend needs to keep its promises."""

    def __init__(self, url: str, *, connections: int = CONNECTIONS) -> None:
        self.url = url
        if make_url(url).get_backend_name() == "sqlite":
            # SQLite has one writer: a pool of one makes tasks queue fairly in the event loop
            # instead of polling the file's lock.
            self._writer = sqlite_engine(url, begin="BEGIN IMMEDIATE", connections=1)
            self._reader = self._glancer = sqlite_engine(url, begin="BEGIN", connections=4)
        else:
            self._writer = create_async_engine(
                url,
                pool_size=connections,
                max_overflow=0,
                pool_timeout=30,
                pool_pre_ping=False,
                json_serializer=to_json,
                json_deserializer=msgspec.json.decode,
            )
            # The same pool. By default each statement of a transaction sees a state of its own.
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            self._glancer = self._writer.execution_options(isolation_level="AUTOCOMMIT")

    async def write(self, work: Callable[[WriteTx], Awaitable[T]]) -> T:
        """Run `work` in a transaction and commit it; start over after a deadlock.

        A cancellation waits for its end. Raises DatabaseUnavailable when the database cannot be
        reached; an exception of `work` rolls back and passes untouched.
        """
        # SQLite's driver, interrupted amid a RETURNING, leaves a connection that holds the lock
        # until it is garbage, and with it every writer waiting.
        return await uninterrupted(self._write(work))

    async def _write(self, work: Callable[[WriteTx], Awaitable[T]]) -> T:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                async with reachable(), self._writer.begin() as connection:
                    return await work(WriteTx(ReadTx(connection)))
            except DBAPIError as error:
                if attempt == ATTEMPTS_MAX or not _is_serialization_failure(error):
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * attempt))  # jitter
        raise AssertionError("the loop returns or raises")

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[ReadTx]:
        """A transaction that sees one consistent state and changes nothing."""
        async with reachable(), self._reader.begin() as connection:
            yield ReadTx(connection)

    @asynccontextmanager
    async def glance(self) -> AsyncGenerator[ReadTx]:
        """For one statement: no transaction around it, and so two journeys fewer."""
        async with reachable(), self._glancer.connect() as connection:
            yield ReadTx(connection)

    async def aclose(self) -> None:
        """Give back every connection."""
        await self._writer.dispose()
        await self._reader.dispose()


async def uninterrupted(work: Awaitable[T]) -> T:
    """Finish `work` even when cancelled meanwhile; the cancellation is raised afterwards."""
    running = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not running.done():
        with suppress(Exception):  # a failure of its own is raised below
            try:
                # Cheaper than asyncio.wait, which a solve would pay for nine times.
                await asyncio.shield(running)
            except asyncio.CancelledError as again:  # a deadline, and then a client that leaves
                cancellation = again
    if cancellation is not None:
        raise cancellation from running.exception()
    return running.result()


async def once_back(work: Callable[[bool], Awaitable[T]], *, within_s: float = OUTAGE_S) -> T:
    """What `work` comes to, tried again for as long as the database is out of reach.

    It is told whether it is tried again: a commit whose acknowledgement was lost may have happened.
    Raises DatabaseUnavailable after `within_s` seconds of that.
    """
    clock = asyncio.get_running_loop().time
    ends_at, wait_s, again = clock() + within_s, RETRY_S, False
    while True:
        try:
            return await work(again)
        except DatabaseUnavailable:
            if clock() >= ends_at:
                raise
        await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # jitter
        wait_s, again = min(2 * wait_s, RETRY_MAX_S), True


@asynccontextmanager
async def reachable() -> AsyncGenerator[None]:
    """Tell a database that cannot be used now from a fault: DatabaseUnavailable, or what it was."""
    try:
        yield
    except (OSError, PoolTimeout, InterfaceError) as error:
        raise DatabaseUnavailable("the database cannot be reached; try again later") from error
    except DBAPIError as error:
        gone = error.connection_invalidated or _sqlstate(error).startswith(UNREACHABLE)
        if gone or _is_sqlite_lock(error):
            raise DatabaseUnavailable("the database cannot be used now; try again later") from error
        raise


def is_duplicate(error: IntegrityError) -> bool:
    """Whether a row with the same key is there already."""
    name = getattr(error.orig, "sqlite_errorname", "")
    return name in SQLITE_DUPLICATES or _sqlstate(error) == UNIQUE_VIOLATION


def _is_sqlite_lock(error: DBAPIError) -> bool:
    name = getattr(error.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR"))


def _is_serialization_failure(error: DBAPIError) -> bool:
    return _sqlstate(error) in SERIALIZATION_FAILURES


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def to_json(document: object) -> str:
    """A document as JSON text, a tenth of the time of the standard library's."""
    return msgspec.json.encode(document).decode()


def sqlite_engine(
    url: str, *, begin: str, connections: int, foreign_keys: str = "ON"
) -> AsyncEngine:
    """An engine whose transactions start with `begin` and wait for another process's to end."""
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=60,
        json_serializer=to_json,
        json_deserializer=msgspec.json.decode,
    )

    def configure(raw: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver would open transactions by itself, late and deferred: 750 of 1,000 concurrent
        # holds then failed to upgrade their read lock. We begin them ourselves.
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")  # first: the next one may wait
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA foreign_keys={foreign_keys}")
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", configure)
    event.listen(engine.sync_engine, "begin", start)
    return engine
