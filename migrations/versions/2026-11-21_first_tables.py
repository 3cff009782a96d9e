"""The first tables: tenants, budgets, solves, the call journal and its entries.

There is no old code to run beside.

Revision ID: 0001
Revises:
Create Date: 2026-11-21
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Document, Instant

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

APPEND_ONLY = ("entry", "price")
"""Tables whose rows are written once; a correction is a new row."""


def upgrade() -> None:
    """Make every table."""
    # Waiting for a lock blocks everybody who comes after us: give up early instead.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    _tenants()
    _budgets()
    _solves()
    _journal()
    for table in APPEND_ONLY:
        _refuse_changes(table)


def downgrade() -> None:
    """Drop every table."""
    for table in (
        "entry",
        "call",
        "payload",
        "solve_input",
        "solve",
        "price",
        "budget",
        "budget_rule",
        "api_key",
        "tenant",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")


def _tenants() -> None:
    """Who may ask."""
    op.create_table(
        "tenant",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
        sa.UniqueConstraint("name", name=op.f("uq_tenant_name")),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_api_key_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
    )
    op.create_index(op.f("ix_api_key_tenant_id"), "api_key", ["tenant_id"])


def _budgets() -> None:
    """What may be spent, and what things cost."""
    op.create_table(
        "budget_rule",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("scope_id", sa.String(length=64), nullable=False),
        sa.Column("period", sa.String(length=8), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("limit_nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("limit_nano >= 0", name=op.f("ck_budget_rule_limit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_rule")),
        sa.UniqueConstraint(
            "scope", "scope_id", "period", name=op.f("uq_budget_rule_scope_scope_id_period")
        ),
    )
    op.create_index(op.f("ix_budget_rule_tenant_id"), "budget_rule", ["tenant_id"])
    op.create_table(
        "budget",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("rule_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("period_start", Instant(), nullable=False),
        sa.Column("period_end", Instant(), nullable=False),
        sa.Column("lim", sa.BigInteger(), nullable=False),
        sa.Column("posted", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("posted + reserved <= lim", name=op.f("ck_budget_fits")),
        sa.CheckConstraint("posted >= 0", name=op.f("ck_budget_posted")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_budget_reserved")),
        sa.ForeignKeyConstraint(["rule_id"], ["budget_rule.id"], name=op.f("fk_budget_rule_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget")),
        sa.UniqueConstraint("rule_id", "period_start", name=op.f("uq_budget_rule_id_period_start")),
    )
    op.create_index(op.f("ix_budget_tenant_id"), "budget", ["tenant_id"])
    op.create_table(
        "price",
        sa.Column("version", sa.String(length=24), nullable=False),
        sa.Column("unit", sa.String(length=24), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("nano_per_million", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", Instant(), nullable=False),
        sa.CheckConstraint("nano_per_million >= 0", name=op.f("ck_price_rate")),
        sa.PrimaryKeyConstraint("version", "unit", name=op.f("pk_price")),
    )


def _solves() -> None:
    """What was asked, what it held and spent, and its texts."""
    op.create_table(
        "solve",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("budgets", Document, nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=False),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("posted", sa.BigInteger(), nullable=False),
        sa.Column("inflight", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("completed_at", Instant(), nullable=True),
        sa.Column("result", Document, nullable=True),
        sa.CheckConstraint("hold <= cap", name=op.f("ck_solve_cap")),
        sa.CheckConstraint("inflight >= 0", name=op.f("ck_solve_inflight")),
        sa.CheckConstraint("posted + inflight <= hold", name=op.f("ck_solve_fits")),
        sa.CheckConstraint("posted >= 0", name=op.f("ck_solve_posted")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_solve")),
    )
    op.create_index(
        "ix_solve_open",
        "solve",
        ["state"],
        unique=False,
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_index(op.f("ix_solve_tenant_id"), "solve", ["tenant_id"])
    op.create_table(
        "solve_input",
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("request", Document, nullable=False),
        sa.Column("plan", Document, nullable=False),
        sa.ForeignKeyConstraint(["solve_id"], ["solve.id"], name=op.f("fk_solve_input_solve_id")),
        sa.PrimaryKeyConstraint("solve_id", name=op.f("pk_solve_input")),
    )
    op.create_table(
        "payload",
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["solve_id"], ["solve.id"], name=op.f("fk_payload_solve_id")),
        sa.PrimaryKeyConstraint("solve_id", "name", name=op.f("pk_payload")),
    )


def _journal() -> None:
    """What was called, and who paid."""
    op.create_table(
        "call",
        sa.Column("id", sa.String(length=120), nullable=False),
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("op", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("expert", sa.String(length=64), nullable=False),
        sa.Column("expert_version", sa.String(length=16), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("price_version", sa.String(length=24), nullable=False),
        sa.Column("prompt_sha256", sa.String(length=64), nullable=False),
        sa.Column("max_cost", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("ask", sa.BigInteger(), nullable=True),
        sa.Column("parent", sa.BigInteger(), nullable=True),
        sa.Column("asked_seq", sa.BigInteger(), nullable=True),
        sa.Column("told_seq", sa.BigInteger(), nullable=True),
        sa.Column("score", sa.Double[float](), nullable=True),
        sa.Column("abandoned", sa.String(length=200), nullable=True),
        sa.Column("returned_model", sa.String(length=128), nullable=True),
        sa.Column("provider_request_id", sa.String(length=128), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("finish_reason", sa.String(length=16), nullable=True),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "state IN ('intent','ok','failed','cancelled','orphan')", name=op.f("ck_call_state")
        ),
        sa.CheckConstraint("cost >= 0", name=op.f("ck_call_cost")),
        sa.CheckConstraint("max_cost >= 0", name=op.f("ck_call_max_cost")),
        sa.ForeignKeyConstraint(["solve_id"], ["solve.id"], name=op.f("fk_call_solve_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call")),
        sa.UniqueConstraint("solve_id", "op", "attempt", name=op.f("uq_call_solve_id_op_attempt")),
    )
    op.create_index(
        "uq_call_one_ok",
        "call",
        ["solve_id", "op"],
        unique=True,
        sqlite_where=sa.text("state = 'ok'"),
        postgresql_where=sa.text("state = 'ok'"),
    )
    op.create_table(
        "entry",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("call_id", sa.String(length=120), nullable=False),
        sa.Column("solve_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=80), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("price_version", sa.String(length=24), nullable=False),
        sa.Column("posted_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"], name=op.f("fk_entry_call_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entry")),
        sa.UniqueConstraint(
            "call_id", "kind", "account", name=op.f("uq_entry_call_id_kind_account")
        ),
    )
    op.create_index(op.f("ix_entry_account"), "entry", ["account"])
    op.create_index(op.f("ix_entry_solve_id"), "entry", ["solve_id"])


def _refuse_changes(table: str) -> None:
    """Let the database itself refuse what no code should ever try."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        # A cascade from any older table would empty it without a row being deleted.
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
