"""Which solve another goes on from or repeats, and which of its calls are behind the first nodes.

Old code runs on the new schema: every new column may be null, and it knows nothing of the table.

Revision ID: 0014
Revises: 0013
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Document

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the columns and the table."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("solve", sa.Column("resumed_from", sa.String(length=40), nullable=True))
    op.add_column("solve", sa.Column("replay_of", sa.String(length=40), nullable=True))
    op.add_column("solve_input", sa.Column("inherited", Document, nullable=True))
    op.create_table(
        "inherited_node",
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("node", sa.BigInteger(), nullable=False),
        sa.Column("call_id", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["solve_id"], ["solve.id"], name=op.f("fk_inherited_node_solve_id")
        ),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"], name=op.f("fk_inherited_node_call_id")),
        sa.PrimaryKeyConstraint("solve_id", "node", name=op.f("pk_inherited_node")),
    )


def downgrade() -> None:
    """Forget where solves came from; what they cost stays."""
    op.drop_table("inherited_node")
    op.drop_column("solve_input", "inherited")
    op.drop_column("solve", "replay_of")
    op.drop_column("solve", "resumed_from")
