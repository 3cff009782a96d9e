"""The one MetaData, and the column types that SQLite and PostgreSQL share.

Mapped classes are typed rows: no relationships, no lazy loading, no cascade. Each capability keeps
its rows, and the SQL that touches them, in its own folder.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime, Dialect, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import JSON, TypeDecorator, TypeEngine

from app.money import NanoUSD


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime: `timestamptz` on PostgreSQL, sortable ISO 8601 text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(27))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """Write UTC."""
        if value is None:
            return None
        assert value.tzinfo is not None, "an instant without a zone is not an instant"
        utc = value.astimezone(UTC)
        return utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if dialect.name == "sqlite" else utc

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:
        """Read an aware datetime."""
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromisoformat(str(value))


Document = JSON().with_variant(JSONB(), "postgresql")
"""A JSON value that the database may look into."""


class Base(DeclarativeBase):
    """Every table of Fathom registers here; Alembic compares this with the database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Instant(),
        NanoUSD: BigInteger(),
        int: BigInteger(),
    }
