"""What the gate decided and what came of it, and the versions of its weights.

Old code runs on the new schema: it knows neither table.

Revision ID: 0027
Revises: 0026
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Document, Instant

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make both tables."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "gate_example",
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("pair", sa.String(length=140), nullable=True),
        sa.Column("category", sa.String(length=64), nullable=True),
        sa.Column("pooled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=True),
        sa.Column("propensity", sa.Double[float](), nullable=True),
        sa.Column("route", sa.String(length=16), nullable=True),
        sa.Column("answered", sa.String(length=16), nullable=True),
        sa.Column("same", sa.Boolean(), nullable=True),
        sa.Column("agreed", sa.Boolean(), nullable=True),
        sa.Column("features", Document, nullable=True),
        sa.Column("cheap_cost", sa.BigInteger(), nullable=True),
        sa.Column("second_cost", sa.BigInteger(), nullable=True),
        sa.Column("strong_cost", sa.BigInteger(), nullable=True),
        sa.Column("search_cost", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=True),
        sa.Column("cheap", sa.Double[float](), nullable=True),
        sa.Column("strong", sa.Double[float](), nullable=True),
        sa.Column("search", sa.Double[float](), nullable=True),
        sa.Column("feedback", sa.Double[float](), nullable=True),
        sa.Column("labelled_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("solve_id", name=op.f("pk_gate_example")),
    )
    op.create_index(op.f("ix_gate_example_tenant_id"), "gate_example", ["tenant_id"])
    op.create_index(
        "ix_gate_example_labelled_at_solve_id", "gate_example", ["labelled_at", "solve_id"]
    )
    op.create_table(
        "gate_weights",
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("document", Document, nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.Column("promoted_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_gate_weights")),
    )
    op.create_index(op.f("ix_gate_weights_promoted_at"), "gate_weights", ["promoted_at"])


def downgrade() -> None:
    """Forget what was learned; the shipped weights decide again."""
    op.drop_table("gate_weights")
    op.drop_table("gate_example")
