"""Projects between a tenant and its keys; the project and the route of each solve.

Old code runs on the new schema: every new column may be null, and a key without a project is
bounded by its tenant and itself alone.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table and the columns."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "project",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_project_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_project_tenant_id_name")),
    )
    op.add_column("api_key", sa.Column("project_id", sa.String(length=40), nullable=True))
    op.add_column("solve", sa.Column("project_id", sa.String(length=40), nullable=True))
    op.add_column("solve", sa.Column("route", sa.String(length=16), nullable=True))
    op.create_index(op.f("ix_call_started_at"), "call", ["started_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index(op.f("ix_call_started_at"), "call")
    op.drop_column("solve", "route")
    op.drop_column("solve", "project_id")
    op.drop_column("api_key", "project_id")
    op.drop_table("project")
