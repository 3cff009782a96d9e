"""Bring a database to the schema of this version, from a checkout or from an installed wheel."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.errors import GatewayError


class SchemaBehind(GatewayError):
    """The database does not have the schema of this version."""

    def __init__(self, found: str | None, wanted: str | None) -> None:
        super().__init__(
            f"the database is at revision {found}, this version needs {wanted}: "
            "run `fathom db upgrade`"
        )


async def upgrade(url: str, *, revision: str = "head") -> None:
    """Run every migration that the database lacks; harmless when it lacks none."""
    await _run(url, lambda config: command.upgrade(config, revision))


async def check(url: str) -> None:
    """Raise SchemaBehind unless the database is at this version's revision."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_revision)
    finally:
        await engine.dispose()
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    if found != wanted:
        raise SchemaBehind(found, wanted)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _run(url: str, step: Callable[[Config], None]) -> None:
    def migrate(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        step(config)

    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


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
