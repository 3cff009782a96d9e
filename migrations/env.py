"""Alembic's entry: the metadata of every capability, and the database that the caller names."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import app.learning.tables
import app.ledger.alert_tables
import app.ledger.batch_tables
import app.ledger.finance_tables
import app.ledger.tables
import app.notices.tables
import app.tenants.tables
from app.db.base import Base
from app.settings import read_settings

# Imported for their tables: Alembic compares what is registered with what the database has.
TABLES = (
    app.ledger.alert_tables,
    app.ledger.batch_tables,
    app.ledger.finance_tables,
    app.ledger.tables,
    app.learning.tables,
    app.notices.tables,
    app.tenants.tables,
)


def migrate(connection: Connection) -> None:
    """Run the migrations on an open connection."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        # SQLite cannot alter a table in place; Alembic copies it instead.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate(url: str) -> None:
    """Open the database by its URL for `alembic` on the command line."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


handed_in = context.config.attributes.get("connection")
if handed_in is not None:
    migrate(handed_in)
else:
    asyncio.run(connect_and_migrate(read_settings().database_url))
