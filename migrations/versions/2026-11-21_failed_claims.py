"""Claims that ended by a bug, so that a solve that nobody can go on with ends.

Old code runs on the new schema: it does not know the table.

Revision ID: 0023
Revises: 0022
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "failed_claim",
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("failed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["solve_id"], ["solve.id"], name=op.f("fk_failed_claim_solve_id")),
        sa.PrimaryKeyConstraint("solve_id", "token", name=op.f("pk_failed_claim")),
    )


def downgrade() -> None:
    """Count anew."""
    op.drop_table("failed_claim")
