"""Each period keeps the limit that it is to have, beside the one that what it has used allows.

Old code runs on the new schema: a period that it opens has no target, and keeps its limit.

Revision ID: 0011
Revises: 0010
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column; what periods were to have, their rules say."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("budget", sa.Column("target", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE budget SET target = "
        "(SELECT limit_nano FROM budget_rule WHERE budget_rule.id = budget.rule_id)"
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_column("budget", "target")
