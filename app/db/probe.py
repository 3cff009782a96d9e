"""Whether the database answers, and has a schema that this version can work with."""

from typing import Final

from sqlalchemy import String, column, select, table
from sqlalchemy.exc import DBAPIError

from app.db.engine import Database, DatabaseUnavailable
from app.db.migrate import Revisions

VERSION: Final = select(column("version_num", String)).select_from(table("alembic_version"))


async def database_trouble(database: Database) -> str | None:
    """Why nothing can be read, or None."""
    try:
        async with database.read() as tx:
            await tx.execute(select(1))
    except (DatabaseUnavailable, DBAPIError):
        return "cannot be reached"
    return None


async def schema_trouble(database: Database, revisions: Revisions) -> str | None:
    """Why the schema is not fit, or None.

    A revision that this version does not know is a newer one's. Migrations run before the code
    that needs them, and the replicas that still run the old code must not all go down with that.
    """
    try:
        async with database.read() as tx:
            found = await tx.scalar(VERSION)
    except (DatabaseUnavailable, DBAPIError):
        return "cannot be read"
    if found is not None and (found == revisions.head or found not in revisions.known):
        return None
    return "behind this version: run `fathom db upgrade`"
