"""Bring a database to the schema of this version, from a checkout or from an installed wheel."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db.engine import reachable, sqlite_engine
from app.errors import GatewayError

LOCK: Final = 7_305_808_869_229_538_925
"""The advisory lock that a migration of a PostgreSQL database takes; drawn at random."""

LOCK_TIMEOUT_S: Final = 60
"""How long a migration waits for the one before it."""


@dataclass(frozen=True, slots=True)
class Revisions:
    """Every revision that this version knows, and the one it needs."""

    head: str | None
    known: frozenset[str]


class SchemaBehind(GatewayError):
    """The database does not have the schema of this version."""

    def __init__(self, found: str | None, wanted: str | None) -> None:
        super().__init__(
            f"the database is at revision {found}, this version needs {wanted}: "
            "run `fathom db upgrade`"
        )


async def upgrade(url: str, *, revision: str = "head") -> None:
    """Run every migration that the database lacks, or none; harmless when it lacks none.

    Two processes that start at once migrate one after the other. Raises DatabaseUnavailable.
    """
    await _run(url, lambda config: command.upgrade(config, revision))


async def check(url: str) -> None:
    """Raise SchemaBehind unless the database is at this version's revision."""
    engine = create_async_engine(url)
    try:
        async with reachable(), engine.connect() as connection:
            found = await connection.run_sync(_revision)
    finally:
        await engine.dispose()
    wanted = revisions().head
    if found != wanted:
        raise SchemaBehind(found, wanted)


def revisions() -> Revisions:
    """What the migration files say; reads all of them."""
    scripts = ScriptDirectory.from_config(_config())
    known = frozenset(script.revision for script in scripts.walk_revisions())
    return Revisions(scripts.get_current_head(), known)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _run(url: str, step: Callable[[Config], None]) -> None:
    def migrate(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        config = _config()
        config.attributes["connection"] = connection
        step(config)

    engine = _engine(url)
    try:
        async with reachable(), engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url)
    # Left to itself the driver would commit each CREATE TABLE: half a schema after a crash. Foreign
    # keys are off because Alembic replaces a table that others refer to.
    return sqlite_engine(url, begin="BEGIN IMMEDIATE", connections=1, foreign_keys="OFF")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> Path:
    # The wheel carries the top-level folder `migrations` inside the package.
    package = Path(str(files("app")))
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"
