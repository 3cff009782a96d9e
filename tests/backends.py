"""Both databases and both tree stores, for tests that must hold on each of them.

A laptop without PostgreSQL or Redis skips that half; where REQUIRE_REAL is set it fails instead.
Every test process has a PostgreSQL and a Redis database of its own, so that processes never meet,
and every test starts with empty ones.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.accounts import Allowance, open_key, open_tenant
from app.db import migrate
from app.db.base import Base
from app.db.engine import Database
from app.ids import uuid7
from app.ledger.budgets import Account
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd
from app.wiring import open_redis

POSTGRESQL: Final = make_url(
    os.environ.get("FATHOM_TEST_DATABASE_URL", "postgresql+asyncpg://root@127.0.0.1:5432/postgres")
)
REDIS: Final = make_url(os.environ.get("FATHOM_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"))
REDIS_DATABASES: Final = 16
"""What a Redis has unless told otherwise; the one that REDIS names is never used."""

CLAIM: Final = "fathom:tests"
"""A Redis database with this key may be emptied: by the process it names, or once that is gone."""

PROCESS: Final = f"{socket.gethostname()}:{os.getpid()}"
OWN_DATABASE: Final = f"fathom_{os.environ.get('PYTEST_XDIST_WORKER', 'tests')}_{os.getpid()}"
PLENTY: Final = from_usd("100")

SQLITE: Final = "sqlite"
REAL: Final = "postgresql"


@dataclass(frozen=True, slots=True)
class Backends:
    """Migrated databases: a file to copy, and a PostgreSQL database, None if out of reach."""

    template: Path
    postgresql: URL | None


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Generator[Backends]:
    """Databases of this test process, brought to this version's schema once."""
    template = tmp_path_factory.mktemp("template") / "fathom.db"
    asyncio.run(migrate.upgrade(_sqlite(template)))
    url = POSTGRESQL.set(database=OWN_DATABASE)
    try:
        asyncio.run(_administer(f'CREATE DATABASE "{OWN_DATABASE}"'))
    except (OSError, DBAPIError):
        yield Backends(template, None)
        return
    # Nobody cuts the power here, so no commit waits for the disk: ten times as fast.
    asyncio.run(_administer(f'ALTER DATABASE "{OWN_DATABASE}" SET synchronous_commit = off'))
    asyncio.run(migrate.upgrade(_text(url)))
    yield Backends(template, url)
    asyncio.run(_administer(f'DROP DATABASE "{OWN_DATABASE}" WITH (FORCE)'))


@pytest.fixture(params=[SQLITE, REAL])
async def database_url(request: pytest.FixtureRequest, backends: Backends, tmp_path: Path) -> str:
    """An empty database with this version's schema; nothing is connected to it."""
    return await empty_database(request.param, backends, tmp_path)


async def empty_database(kind: str, backends: Backends, folder: Path) -> str:
    """What `database_url` is, for a fixture that outlives one test: none but it may be in use."""
    if kind == SQLITE:
        copy = folder / "fathom.db"
        shutil.copyfile(backends.template, copy)
        return _sqlite(copy)
    if backends.postgresql is None:
        skip(f"no PostgreSQL at {POSTGRESQL.render_as_string()}")
    url = _text(backends.postgresql)
    await _empty(url)
    return url


@pytest.fixture(params=[SQLITE, REAL])
async def bare_database_url(
    request: pytest.FixtureRequest, backends: Backends, tmp_path: Path
) -> AsyncGenerator[str]:
    """A database without any table."""
    if request.param == SQLITE:
        yield _sqlite(tmp_path / "bare.db")
        return
    if backends.postgresql is None:
        skip(f"no PostgreSQL at {POSTGRESQL.render_as_string()}")
    bare = f"{OWN_DATABASE}_bare"
    await _administer(f'CREATE DATABASE "{bare}"')
    yield _text(POSTGRESQL.set(database=bare))
    await _administer(f'DROP DATABASE "{bare}" WITH (FORCE)')


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database]:
    """The empty database, open."""
    async with opened(database_url) as database:
        yield database


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    """A database as one process has it: two of them behave as two processes do."""
    database = Database(url)
    try:
        yield database
    finally:
        await database.aclose()


async def account(
    database: Database,
    *,
    limit: NanoUSD = PLENTY,
    key_limit: NanoUSD | None = None,
    period: Period = Period.TOTAL,
    timezone: str = "UTC",
) -> Account:
    """A new tenant that may spend `limit`, by a key that may spend `key_limit` of it."""
    name = f"tenant-{uuid7().hex}"
    whole = Allowance(limit, period, timezone)
    made = await open_tenant(database, name=name, policy="default", allowance=whole)
    if key_limit is not None:
        part = Allowance(key_limit, period, timezone)
        made = await open_key(database, tenant=name, name="second", allowance=part)
    return Account(made.tenant_id, made.key_id)


@pytest.fixture(scope="session")
def redis_url() -> Generator[str | None]:
    """A Redis database that this test process alone uses; None if there is no Redis."""
    for number in range(1, REDIS_DATABASES):
        url = _text(REDIS.set(database=str(number)))
        try:
            mine = asyncio.run(_claim(url))
        except (OSError, RedisGone):
            break
        if mine:
            yield url
            asyncio.run(_flush(url))
            return
    yield None


@pytest.fixture(params=["embedded", "redis"])
async def redis_client(
    request: pytest.FixtureRequest, redis_url: str | None
) -> AsyncGenerator[Redis]:
    """An empty Redis: the one inside this process, or a real one."""
    if request.param == "embedded":
        client: Redis = FakeAsyncRedis(server=FakeServer())
    elif redis_url is None:
        skip(f"no Redis with a free database at {REDIS.render_as_string()}")
    else:
        client = open_redis(redis_url)
        await empty(client)
        await client.set(CLAIM, PROCESS)
    yield client
    await client.aclose()


async def empty(client: Redis) -> None:
    """Lose everything that this Redis database holds, as a restart may."""
    await client.flushdb()  # pyright: ignore[reportUnknownMemberType] - untyped options


def skip(reason: str) -> NoReturn:
    """Skip for want of a service, or fail where it must be there."""
    if os.environ.get("REQUIRE_REAL"):
        pytest.fail(reason)
    pytest.skip(reason)


async def _administer(statement: str) -> None:
    engine = create_async_engine(POSTGRESQL, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.execute(text(statement))


async def _empty(url: str) -> None:
    # Five times as fast as a fresh copy of the database. Triggers that keep entries from being
    # deleted do not fire for a replica, and neither do foreign keys.
    tables = "".join(f'DELETE FROM "{table}";' for table in Base.metadata.tables)  # noqa: S608 - names of ours
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(f"DO $$ BEGIN {tables} END $$"))


async def _claim(url: str) -> bool:
    async with open_redis(url) as client:
        owner = await client.get(CLAIM)
        if isinstance(owner, bytes) and _is_gone(owner.decode()):
            await empty(client)
        if await client.randomkey() is not None:  # pyright: ignore[reportUnknownMemberType]
            return False
        return bool(await client.set(CLAIM, PROCESS, nx=True))


async def _flush(url: str) -> None:
    async with open_redis(url) as client:
        await empty(client)


def _is_gone(owner: str) -> bool:
    host, _, process = owner.rpartition(":")
    if host != socket.gethostname():
        return False
    with suppress(PermissionError):
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
    return False


def _sqlite(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
