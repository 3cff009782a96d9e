"""Texts of solves that ended before retention are kept a week from now, and then erased.

From now and not from their end: whoever did not expect it has a week to export them. Old code runs
on the new data. Safe to run again.

Revision ID: 0022
Revises: 0021
Create Date: 2026-11-21
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Set the time of those that have none; rows only, so nobody else waits long."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
        week = "clock_timestamp() + interval '7 days'"
    else:
        week = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '7 days')"
    op.execute(
        f"UPDATE solve SET erase_at = {week} "  # noqa: S608 - one of two texts of ours
        "WHERE completed_at IS NOT NULL AND erase_at IS NULL "
        "AND EXISTS (SELECT 1 FROM solve_input WHERE solve_input.solve_id = solve.id)"
    )


def downgrade() -> None:
    """What is due stays due; nothing to take back."""
