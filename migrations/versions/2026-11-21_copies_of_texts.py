"""Indexes that find copies of erased texts: of resumed and replayed solves, and of refused lines.

Old code runs on the new schema.

Revision ID: 0025
Revises: 0024
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = (
    ("solve", "resumed_from", "resumed_from"),
    ("solve", "replay_of", "replay_of"),
    ("batch_line", "batch_id", "error_detail"),
)
"""Of a table, a column, and the one that is not empty."""


def upgrade() -> None:
    """Make them."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    for table, column, there in INDEXES:
        is_there = sa.text(f"{there} IS NOT NULL")
        op.create_index(
            f"ix_{table}_{there}",
            table,
            [column],
            sqlite_where=is_there,
            postgresql_where=is_there,
        )


def downgrade() -> None:
    """Drop them."""
    for table, _, there in INDEXES:
        op.drop_index(f"ix_{table}_{there}", table)
