"""Cost centers of projects and keys, and of each solve as it was opened.

Old code runs on the new schema: every new column may be null.

Revision ID: 0007
Revises: 0006
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("project", "api_key", "solve")


def upgrade() -> None:
    """Add the columns."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.add_column(table, sa.Column("cost_center", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Forget them."""
    for table in TABLES:
        op.drop_column(table, "cost_center")
