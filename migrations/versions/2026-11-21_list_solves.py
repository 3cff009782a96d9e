"""A tenant's solves are listed newest first, page by page: their ids sort by time.

Old code runs on the new schema. The index is made without blocking writers only where it is made by
hand before (CREATE INDEX CONCURRENTLY under this name); here it is made once, and skipped if there.

Revision ID: 0015
Revises: 0014
Create Date: 2026-11-21
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the index."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_index(op.f("ix_solve_tenant_id_id"), "solve", ["tenant_id", "id"], if_not_exists=True)


def downgrade() -> None:
    """Drop it."""
    op.drop_index(op.f("ix_solve_tenant_id_id"), "solve")
