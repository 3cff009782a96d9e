"""The journal keeps what a call proved to have cost after it was closed.

Old code runs on the new schema: the column may be empty.

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("call", sa.Column("late_cost", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Forget the costs; their entries stay."""
    op.drop_column("call", "late_cost")
