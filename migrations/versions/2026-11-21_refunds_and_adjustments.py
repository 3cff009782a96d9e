"""Corrections of what was charged, and entries that are about them instead of a call.

Old code runs on the new schema: it writes entries of calls alone, which have what they had.

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Instant

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table, and let an entry be about a row of it."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "correction",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=80), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("solve_id", sa.String(length=40), nullable=True),
        sa.Column("call_id", sa.String(length=120), nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("posted_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('refund','adjustment','reconciliation')", name=op.f("ck_correction_kind")
        ),
        sa.CheckConstraint(
            "kind <> 'refund' OR call_id IS NOT NULL", name=op.f("ck_correction_refund")
        ),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"], name=op.f("fk_correction_call_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_correction")),
        sa.UniqueConstraint(
            "account",
            "reference",
            "subject",
            name=op.f("uq_correction_account_reference_subject"),
        ),
    )
    op.create_index(op.f("ix_correction_solve_id"), "correction", ["solve_id"])
    with op.batch_alter_table("entry") as entry:
        entry.add_column(sa.Column("correction_id", sa.String(length=40), nullable=True))
        entry.alter_column("call_id", existing_type=sa.String(length=120), nullable=True)
        entry.alter_column("solve_id", existing_type=sa.String(length=40), nullable=True)
        entry.alter_column("price_version", existing_type=sa.String(length=24), nullable=True)
        entry.create_foreign_key(
            op.f("fk_entry_correction_id"), "correction", ["correction_id"], ["id"]
        )
        entry.create_unique_constraint(
            op.f("uq_entry_correction_id_kind_account"), ["correction_id", "kind", "account"]
        )
        entry.create_check_constraint(
            op.f("ck_entry_subject"), "(call_id IS NULL) <> (correction_id IS NULL)"
        )
    _refuse_changes("correction")
    if op.get_bind().dialect.name == "sqlite":  # which copied the table, and left its triggers
        _refuse_changes("entry")


def downgrade() -> None:
    """Forget every correction; the entries of calls stay."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute("ALTER TABLE entry DISABLE TRIGGER entry_append_only")
    else:
        op.execute("DROP TRIGGER entry_refuses_delete")
    op.execute("DELETE FROM entry WHERE call_id IS NULL")
    if postgresql:
        op.execute("ALTER TABLE entry ENABLE TRIGGER entry_append_only")
    with op.batch_alter_table("entry") as entry:
        entry.drop_constraint(op.f("ck_entry_subject"), type_="check")
        entry.drop_constraint(op.f("uq_entry_correction_id_kind_account"), type_="unique")
        entry.drop_constraint(op.f("fk_entry_correction_id"), type_="foreignkey")
        entry.alter_column("price_version", existing_type=sa.String(length=24), nullable=False)
        entry.alter_column("solve_id", existing_type=sa.String(length=40), nullable=False)
        entry.alter_column("call_id", existing_type=sa.String(length=120), nullable=False)
        entry.drop_column("correction_id")
    if not postgresql:
        _refuse_changes("entry")
    op.drop_table("correction")


def _refuse_changes(table: str) -> None:
    """Let the database itself refuse what no code should ever try."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_never_empty BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_refuses_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
