import asyncio
import socket

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.db import migrate
from app.db.base import Base
from app.db.engine import DatabaseUnavailable
from app.db.migrate import SchemaBehind
from tests.backends import account, opened
from tests.house.test_sizes import ROOT
from tests.ledger.books import assert_books_hold


async def tables(url: str) -> set[str]:
    """What there is."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


def drift(connection: Connection) -> list[object]:
    """What Alembic would generate, and the CHECKs that only one side has; Alembic looks at none."""
    found = inspect(connection)
    checks = [
        difference
        for name, table in Base.metadata.tables.items()
        for difference in {c["name"] for c in found.get_check_constraints(name)}
        ^ {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
    ]
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [*compare_metadata(context, Base.metadata), *checks]


async def downgrade(url: str) -> None:
    """Undo every migration, as `alembic downgrade base` does."""

    def undo(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(ROOT / "migrations"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(undo)


async def test_migrated_schema_is_the_one_that_the_code_declares(bare_database_url: str) -> None:
    """Tables, columns, types, indexes, keys and checks."""
    await migrate.upgrade(bare_database_url)
    engine = create_async_engine(bare_database_url, poolclass=NullPool)
    async with engine.connect() as connection:
        assert await connection.run_sync(drift) == []


async def test_every_migration_can_be_undone_and_done_again(bare_database_url: str) -> None:
    """Nothing is left in between, and what is made again works."""
    await migrate.upgrade(bare_database_url)
    made = await tables(bare_database_url)
    await downgrade(bare_database_url)
    assert await tables(bare_database_url) == {"alembic_version"}
    await migrate.upgrade(bare_database_url)
    assert await tables(bare_database_url) == made
    async with opened(bare_database_url) as database:
        await account(database)
        await assert_books_hold(database)


async def test_upgrade_is_harmless_when_there_is_nothing_to_do(database_url: str) -> None:
    """It keeps what is there."""
    async with opened(database_url) as database:
        await account(database)
    await migrate.upgrade(database_url)
    await migrate.check(database_url)
    async with opened(database_url) as database:
        await assert_books_hold(database)


async def test_processes_that_start_at_once_migrate_one_after_the_other(
    bare_database_url: str,
) -> None:
    """None finds half a schema."""
    await asyncio.gather(*(migrate.upgrade(bare_database_url) for _ in range(4)))
    await migrate.check(bare_database_url)


async def test_upgrade_that_fails_leaves_nothing(bare_database_url: str) -> None:
    """All of it or none of it, so that it can be tried again."""
    engine = create_async_engine(bare_database_url, poolclass=NullPool)
    async with engine.begin() as connection:  # in the way of the last table of the first migration
        await connection.exec_driver_sql("CREATE TABLE entry (id INTEGER)")
    with pytest.raises(Exception, match="entry"):
        await migrate.upgrade(bare_database_url)
    assert await tables(bare_database_url) == {"entry"}
    async with engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE entry")
    await migrate.upgrade(bare_database_url)
    await migrate.check(bare_database_url)


async def test_schema_of_another_version_is_refused(bare_database_url: str) -> None:
    """With what to do about it."""
    with pytest.raises(SchemaBehind, match="fathom db upgrade"):
        await migrate.check(bare_database_url)
    await migrate.upgrade(bare_database_url, revision="0001")
    with pytest.raises(SchemaBehind, match="0001"):
        await migrate.check(bare_database_url)
    await migrate.upgrade(bare_database_url)
    await migrate.check(bare_database_url)


async def test_database_out_of_reach_is_unavailable() -> None:
    """Before any gateway starts."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql+asyncpg://nobody@127.0.0.1:{unused.getsockname()[1]}/none"
        with pytest.raises(DatabaseUnavailable):
            await migrate.check(url)
        with pytest.raises(DatabaseUnavailable):
            await migrate.upgrade(url)
