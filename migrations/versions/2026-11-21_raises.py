"""Raises of limits for a while, written once, and what periods and rules know of them.

Old code runs on the new schema, and does not let go of a raise that ends: make none before every
process is new.

Revision ID: 0012
Revises: 0011
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "budget_raise"


def upgrade() -> None:
    """Make the table, which the database itself keeps from changing, and the columns."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        TABLE,
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("rule_id", sa.String(length=40), nullable=False),
        sa.Column("by_nano", sa.BigInteger(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.CheckConstraint("by_nano > 0", name=op.f("ck_budget_raise_by")),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["budget_rule.id"], name=op.f("fk_budget_raise_rule_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_raise")),
    )
    op.create_index(op.f("ix_budget_raise_rule_id"), TABLE, ["rule_id"])
    _refuse_changes()
    op.add_column("budget_rule", sa.Column("raised_until", Instant(), nullable=True))
    op.add_column(
        "budget", sa.Column("raised", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column("budget", sa.Column("raised_until", Instant(), nullable=True))


def downgrade() -> None:
    """Forget them; open periods keep the limit that they have until their rule is set again."""
    op.drop_column("budget", "raised_until")
    op.drop_column("budget", "raised")
    op.drop_column("budget_rule", "raised_until")
    op.drop_table(TABLE)


def _refuse_changes() -> None:
    """By the function that the first tables made, on PostgreSQL."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {TABLE}_append_only BEFORE UPDATE OR DELETE ON {TABLE} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {TABLE}_never_empty BEFORE TRUNCATE ON {TABLE} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {TABLE}_refuses_{change.lower()} BEFORE {change} ON {TABLE} "
            f"BEGIN SELECT RAISE(ABORT, '{TABLE} is append-only'); END"
        )
