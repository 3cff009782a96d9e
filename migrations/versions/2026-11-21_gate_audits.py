"""Accepted answers whose alternative was asked, too.

Old code runs on the new schema: it does not know the table.

Revision ID: 0029
Revises: 0028
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "gate_audit",
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("audit_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("pair", sa.String(length=140), nullable=False),
        sa.Column("category", sa.String(length=64), nullable=True),
        sa.Column("pooled", sa.Boolean(), nullable=False),
        sa.Column("versions", sa.String(length=24), nullable=False),
        sa.Column("propensity", sa.Double[float](), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("same", sa.Boolean(), nullable=True),
        sa.Column("chance", sa.Double[float](), nullable=True),
        sa.Column("cheap", sa.Double[float](), nullable=True),
        sa.Column("alternative", sa.Double[float](), nullable=True),
        sa.Column("feedback", sa.Double[float](), nullable=True),
        sa.Column("audited_at", Instant(), nullable=False),
        sa.Column("verified_at", Instant(), nullable=True),
        sa.Column("told_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("solve_id", name=op.f("pk_gate_audit")),
    )
    op.create_index(op.f("ix_gate_audit_tenant_id"), "gate_audit", ["tenant_id"])
    op.create_index(op.f("ix_gate_audit_told_at"), "gate_audit", ["told_at"])


def downgrade() -> None:
    """Forget the audits, and with them every certificate; what they cost stays in the ledger."""
    op.drop_table("gate_audit")
