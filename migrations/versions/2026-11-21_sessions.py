"""Budgets of sessions, one row each, and the session of each solve.

Old code runs on the new schema, and bounds no session: set no limit for them before every process
is new.

Revision ID: 0010
Revises: 0009
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OLD_UNIQUE = "uq_budget_rule_id_period_start"
NEW_UNIQUE = "uq_budget_rule_id_session_period_start"


def upgrade() -> None:
    """Make the columns; a rule may have a row for each session."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("solve", sa.Column("session", sa.String(length=128), nullable=True))
    with op.batch_alter_table("budget") as budget:
        budget.add_column(
            sa.Column("session", sa.String(length=128), nullable=False, server_default="")
        )
        budget.drop_constraint(OLD_UNIQUE, type_="unique")
        budget.create_unique_constraint(NEW_UNIQUE, ["rule_id", "session", "period_start"])


def downgrade() -> None:
    """Forget the sessions, and what was left to each."""
    op.execute("DELETE FROM budget WHERE session <> ''")
    with op.batch_alter_table("budget") as budget:
        budget.drop_constraint(NEW_UNIQUE, type_="unique")
        budget.create_unique_constraint(OLD_UNIQUE, ["rule_id", "period_start"])
        budget.drop_column("session")
    op.drop_column("solve", "session")
