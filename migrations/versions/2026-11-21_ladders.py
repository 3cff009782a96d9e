"""From which part of a limit on only single calls are begun.

Old code runs on the new schema, and begins what it likes.

Revision ID: 0013
Revises: 0012
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

CHECK = "ck_budget_rule_single_from"


def upgrade() -> None:
    """Add the column."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    with op.batch_alter_table("budget_rule") as rule:
        rule.add_column(sa.Column("single_from", sa.BigInteger(), nullable=True))
        rule.create_check_constraint(op.f(CHECK), "single_from BETWEEN 1 AND 10000")


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("budget_rule") as rule:
        rule.drop_constraint(op.f(CHECK), type_="check")
        rule.drop_column("single_from")
