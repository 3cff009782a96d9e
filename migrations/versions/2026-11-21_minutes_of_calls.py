"""A call's tokens count in the minute in which it is made, and not in that of its solve.

Old code runs on the new schema, but ends a solve as if all its calls counted in its own minute: the
windows of others are not given back what it held there. Replace all of it within a minute.

Revision ID: 0026
Revises: 0025
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Document

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("call", sa.Column("limit_windows", Document, nullable=True))


def downgrade() -> None:
    """Count every call where its solve counts."""
    op.drop_column("call", "limit_windows")
