"""Lines of batches wait for a budget's next period.

Old code runs on the new schema: it takes such a line at once, and refuses it.

Revision ID: 0024
Revises: 0023
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("batch_line", sa.Column("not_before", Instant(), nullable=True))


def downgrade() -> None:
    """Let every line be taken at once."""
    op.drop_column("batch_line", "not_before")
