"""A solve knows when its texts are to be erased.

Old code runs on the new schema: the column may be empty, and what it leaves so is kept.

Revision ID: 0021
Revises: 0020
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column, and an index of those that are to be erased."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("solve", sa.Column("erase_at", Instant(), nullable=True))
    op.create_index(
        "ix_solve_erase_at",
        "solve",
        ["erase_at"],
        sqlite_where=sa.text("erase_at IS NOT NULL"),
        postgresql_where=sa.text("erase_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Keep every text until an operator erases it."""
    op.drop_index("ix_solve_erase_at", "solve")
    op.drop_column("solve", "erase_at")
