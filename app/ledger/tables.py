"""The ledger's rows. CHECKs do the policing: a sum that does not fit aborts its transaction.

Amounts are int64 nano-dollars. `entry` and `price` are append-only (triggers refuse the rest);
texts live in `payload` alone, so that they can be erased while money, ids and hashes stay.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Document
from app.money import NanoUSD


class BudgetRule(Base):
    """A standing limit: so much a period for a scope. Its periods are rows of `budget`."""

    __tablename__ = "budget_rule"
    __table_args__ = (
        CheckConstraint("limit_nano >= 0", name="limit"),
        UniqueConstraint("scope", "scope_id", "period"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    scope: Mapped[str] = mapped_column(String(16))
    scope_id: Mapped[str] = mapped_column(String(64))
    period: Mapped[str] = mapped_column(String(8))
    timezone: Mapped[str] = mapped_column(String(64))
    limit_nano: Mapped[NanoUSD]


class Budget(Base):
    """One period of a rule: what it allows, what is spent, what is held by running solves."""

    __tablename__ = "budget"
    __table_args__ = (
        CheckConstraint("posted >= 0", name="posted"),
        CheckConstraint("reserved >= 0", name="reserved"),
        CheckConstraint("posted + reserved <= lim", name="fits"),
        UniqueConstraint("rule_id", "period_start"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    rule_id: Mapped[str] = mapped_column(ForeignKey("budget_rule.id"))
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    lim: Mapped[NanoUSD]
    posted: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0))
    reserved: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0))


class Solve(Base):
    """One request's life and money. `token` fences decisions: each claim of the solve raises it.

    `budgets` lists the budget rows that admitted it, in the order they were updated; `result` holds
    the outcome without its texts.
    """

    __tablename__ = "solve"
    __table_args__ = (
        CheckConstraint("posted >= 0", name="posted"),
        CheckConstraint("inflight >= 0", name="inflight"),
        CheckConstraint("posted + inflight <= hold", name="fits"),
        CheckConstraint("hold <= cap", name="cap"),
        Index("ix_solve_open", "state", postgresql_where=text("completed_at IS NULL")),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    project_id: Mapped[str | None] = mapped_column(String(40))
    key_id: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(16))
    token: Mapped[int]
    owner: Mapped[str] = mapped_column(String(64))
    budgets: Mapped[list[str]] = mapped_column(Document)
    cap: Mapped[NanoUSD]
    hold: Mapped[NanoUSD]
    posted: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0))
    inflight: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0))
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    route: Mapped[str | None] = mapped_column(String(16))
    result: Mapped[dict[str, Any] | None] = mapped_column(Document)


class SolveInput(Base):
    """What a run needs after a crash; erasable once its solve has ended."""

    __tablename__ = "solve_input"
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"), primary_key=True)
    request: Mapped[dict[str, Any]] = mapped_column(Document)
    plan: Mapped[dict[str, Any]] = mapped_column(Document)


class Call(Base):
    """The journal: an upstream call's intent, committed before it, and its outcome, after.

    `ask`, `parent`, `asked_seq` and `told_seq` place a trial in its solve's search log, from which
    the tree can be rebuilt; `propensity` and `widen` say how likely it and going wider were.
    `late_cost` is what a call that was closed as cancelled or orphaned proved to have cost.
    """

    __tablename__ = "call"
    __table_args__ = (
        CheckConstraint("cost >= 0", name="cost"),
        CheckConstraint("max_cost >= 0", name="max_cost"),
        CheckConstraint("state IN ('intent','ok','failed','cancelled','orphan')", name="state"),
        UniqueConstraint("solve_id", "op", "attempt"),
        Index(
            "uq_call_one_ok",
            "solve_id",
            "op",
            unique=True,
            sqlite_where=text("state = 'ok'"),
            postgresql_where=text("state = 'ok'"),
        ),
    )
    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"))
    op: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int]
    state: Mapped[str] = mapped_column(String(12))
    expert: Mapped[str] = mapped_column(String(64))
    expert_version: Mapped[str] = mapped_column(String(16))
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(128))
    price_version: Mapped[str] = mapped_column(String(24))
    prompt_sha256: Mapped[str] = mapped_column(String(64))
    max_cost: Mapped[NanoUSD]
    cost: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0))
    estimated: Mapped[bool] = mapped_column(default=False)
    late_cost: Mapped[NanoUSD | None]
    ask: Mapped[int | None]
    parent: Mapped[int | None]
    asked_seq: Mapped[int | None]
    propensity: Mapped[float | None]
    widen: Mapped[float | None]
    told_seq: Mapped[int | None]
    score: Mapped[float | None]
    abandoned: Mapped[str | None] = mapped_column(String(200))
    returned_model: Mapped[str | None] = mapped_column(String(128))
    provider_request_id: Mapped[str | None] = mapped_column(String(128))
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(String(200))
    started_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]


class Entry(Base):
    """Append-only double entry: the amounts of one call's kind sum to zero."""

    __tablename__ = "entry"
    __table_args__ = (UniqueConstraint("call_id", "kind", "account"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    call_id: Mapped[str] = mapped_column(ForeignKey("call.id"))
    solve_id: Mapped[str] = mapped_column(String(40), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    account: Mapped[str] = mapped_column(String(80), index=True)
    amount: Mapped[NanoUSD]
    price_version: Mapped[str] = mapped_column(String(24))
    posted_at: Mapped[datetime]


class Payload(Base):
    """A text, apart from the money: the answer of a solve, or what one call returned."""

    __tablename__ = "payload"
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    body: Mapped[str]


class PriceRow(Base):
    """One unit of one version of a model's price. A version is the hash of its units."""

    __tablename__ = "price"
    __table_args__ = (CheckConstraint("nano_per_million >= 0", name="rate"),)
    version: Mapped[str] = mapped_column(String(24), primary_key=True)
    unit: Mapped[str] = mapped_column(String(24), primary_key=True)
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(128))
    nano_per_million: Mapped[NanoUSD]
    valid_from: Mapped[datetime]


class Replica(Base):
    """A process that runs solves, and when it last said that it lives: one row each, one lease."""

    __tablename__ = "replica"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seen_at: Mapped[datetime]


class Idempotency(Base):
    """A caller's own name for a request: the solve it started, and what it asked."""

    __tablename__ = "idempotency"
    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"))
    expires_at: Mapped[datetime]
