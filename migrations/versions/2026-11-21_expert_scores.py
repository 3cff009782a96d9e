"""How often each expert is right, by category of problems.

Old code runs on the new schema: it does not know the table.

Revision ID: 0028
Revises: 0027
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "expert_score",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("category", sa.String(length=64), nullable=False),
        sa.Column("expert", sa.String(length=80), nullable=False),
        sa.Column("pooled", sa.Boolean(), nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.Column("right", sa.Double[float](), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("told_at", Instant(), nullable=False),
        sa.CheckConstraint("answers > 0", name=op.f("ck_expert_score_answers")),
        sa.CheckConstraint('"right" BETWEEN 0 AND answers', name=op.f("ck_expert_score_right")),
        sa.PrimaryKeyConstraint(
            "tenant_id", "category", "expert", "pooled", name=op.f("pk_expert_score")
        ),
    )
    op.create_index(op.f("ix_expert_score_told_at"), "expert_score", ["told_at"])


def downgrade() -> None:
    """Forget what was learned of experts; all of them enter a search again."""
    op.drop_table("expert_score")
