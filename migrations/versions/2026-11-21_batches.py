"""Batches and their lines.

Old code runs on the new schema: it knows neither table, and runs no line.

Revision ID: 0018
Revises: 0017
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BATCH_STATES = "'in_progress','finalizing','cancelling','completed','expired','cancelled'"
NOT_ENDED = sa.text("ended_at IS NULL")
OPEN_LINE = sa.text("state IN ('waiting','taken')")


def upgrade() -> None:
    """Make both tables."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "batch",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=False),
        sa.Column("completion_window", sa.String(length=8), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("expired_at", Instant(), nullable=True),
        sa.Column("cancelling_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.CheckConstraint(f"state IN ({BATCH_STATES})", name=op.f("ck_batch_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint(
            "tenant_id", "idempotency_key", name=op.f("uq_batch_tenant_id_idempotency_key")
        ),
    )
    op.create_index(
        "ix_batch_open", "batch", ["state"], sqlite_where=NOT_ENDED, postgresql_where=NOT_ENDED
    )
    op.create_table(
        "batch_line",
        sa.Column("batch_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("custom_id", sa.String(length=128), nullable=False),
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("request", sa.String(), nullable=True),
        sa.Column("error_kind", sa.String(length=64), nullable=True),
        sa.Column("error_detail", sa.String(length=200), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting','taken','ok','failed')", name=op.f("ck_batch_line_state")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_batch_line_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_batch_line")),
        sa.UniqueConstraint("solve_id", name=op.f("uq_batch_line_solve_id")),
    )
    op.create_index(
        "ix_batch_line_open",
        "batch_line",
        ["batch_id", "number"],
        sqlite_where=OPEN_LINE,
        postgresql_where=OPEN_LINE,
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("batch_line")
    op.drop_table("batch")
