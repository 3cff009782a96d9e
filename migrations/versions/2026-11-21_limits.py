"""Limits of requests, tokens and solves at once; what solves and calls count for in them.

Old code runs on the new schema, and counts nothing: set no limit before every process is new.

Revision ID: 0019
Revises: 0018
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Document, Instant

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables and the columns."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "limit_rule",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("scope_id", sa.String(length=64), nullable=False),
        sa.Column("unit", sa.String(length=20), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("most >= 0", name=op.f("ck_limit_rule_most")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_limit_rule")),
        sa.UniqueConstraint(
            "scope", "scope_id", "unit", name=op.f("uq_limit_rule_scope_scope_id_unit")
        ),
    )
    op.create_index(op.f("ix_limit_rule_tenant_id"), "limit_rule", ["tenant_id"])
    op.create_table(
        "limit_window",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("rule_id", sa.String(length=40), nullable=False),
        sa.Column("window_start", Instant(), nullable=False),
        sa.Column("window_end", Instant(), nullable=False),
        sa.Column("lim", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("used >= 0", name=op.f("ck_limit_window_used")),
        sa.CheckConstraint("held >= 0", name=op.f("ck_limit_window_held")),
        sa.CheckConstraint("used + held <= lim", name=op.f("ck_limit_window_fits")),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["limit_rule.id"], name=op.f("fk_limit_window_rule_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_limit_window")),
    )
    op.create_index(op.f("ix_limit_window_rule_id"), "limit_window", ["rule_id"])
    op.add_column("solve", sa.Column("limits", Document, nullable=True))
    op.add_column("call", sa.Column("max_tokens", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Lift every limit."""
    op.drop_column("call", "max_tokens")
    op.drop_column("solve", "limits")
    op.drop_table("limit_window")
    op.drop_table("limit_rule")
