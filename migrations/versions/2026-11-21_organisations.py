"""Organisations, which several tenants belong to, and that of each solve.

Old code runs on the new schema, and bounds nobody by an organisation: put none in place before
every process is new.

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table and the columns."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "organisation",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisation")),
        sa.UniqueConstraint("name", name=op.f("uq_organisation_name")),
    )
    op.add_column("tenant", sa.Column("org_id", sa.String(length=40), nullable=True))
    op.create_index(op.f("ix_tenant_org_id"), "tenant", ["org_id"])
    op.add_column("solve", sa.Column("org_id", sa.String(length=40), nullable=True))


def downgrade() -> None:
    """Forget who belonged together; what was spent stays with each tenant."""
    op.drop_column("solve", "org_id")
    op.drop_index(op.f("ix_tenant_org_id"), "tenant")
    op.drop_column("tenant", "org_id")
    op.drop_table("organisation")
