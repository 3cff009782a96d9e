"""Alerts: who is told when a budget runs low, and who has been.

Old code runs on the new schema: it knows neither table.

Revision ID: 0017
Revises: 0016
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make both tables."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "alert_rule",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("rule_id", sa.String(length=40), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("at_percent", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=8), nullable=False),
        sa.Column("destination", sa.String(length=500), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("at_percent BETWEEN 1 AND 100", name=op.f("ck_alert_rule_at_percent")),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["budget_rule.id"], name=op.f("fk_alert_rule_rule_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_rule")),
        sa.UniqueConstraint(
            "rule_id",
            "at_percent",
            "channel",
            "destination",
            name=op.f("uq_alert_rule_rule_id_at_percent_channel_destination"),
        ),
    )
    op.create_table(
        "alert",
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("budget_id", sa.String(length=64), nullable=False),
        sa.Column("at_percent", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=8), nullable=False),
        sa.Column("destination", sa.String(length=500), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("lim", sa.BigInteger(), nullable=False),
        sa.Column("told_at", Instant(), nullable=False),
        sa.CheckConstraint("spent >= 0", name=op.f("ck_alert_spent")),
        sa.ForeignKeyConstraint(["budget_id"], ["budget.id"], name=op.f("fk_alert_budget_id")),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_alert")),
        sa.UniqueConstraint(
            "budget_id",
            "at_percent",
            "channel",
            "destination",
            name=op.f("uq_alert_budget_id_at_percent_channel_destination"),
        ),
    )


def downgrade() -> None:
    """Drop both tables; who was told is forgotten, and told again."""
    op.drop_table("alert")
    op.drop_table("alert_rule")
