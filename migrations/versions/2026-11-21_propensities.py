"""The journal keeps how likely each trial was, so that an evaluation can weigh it.

Old code runs on the new schema: both columns may be empty.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("call", sa.Column("propensity", sa.Double(), nullable=True))
    op.add_column("call", sa.Column("widen", sa.Double(), nullable=True))


def downgrade() -> None:
    """Forget the likelihoods."""
    op.drop_column("call", "widen")
    op.drop_column("call", "propensity")
