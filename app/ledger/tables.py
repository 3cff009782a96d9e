"""The ledger's rows. CHECKs do the policing: a sum that does not fit aborts its transaction.

Amounts are int64 nano-dollars. `entry`, `correction` and `price` are append-only: triggers refuse
the rest. Texts live in `payload` alone, so they can be erased while money, ids and hashes stay.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Document
from app.money import NanoUSD


class BudgetRule(Base):
    """A standing limit: so much a period for a scope. Its periods are rows of `budget`.

    `tenant_id` is who it belongs to: a tenant, or an organisation. `raised_until` is when the last
    of its raises ends; `single_from` is the part of the limit, in ten-thousandths, from which on
    only single calls are begun.
    """

    __tablename__ = "budget_rule"
    __table_args__ = (
        CheckConstraint("limit_nano >= 0", name="limit"),
        CheckConstraint("single_from BETWEEN 1 AND 10000", name="single_from"),
        UniqueConstraint("scope", "scope_id", "period"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    scope: Mapped[str] = mapped_column(String(16))
    scope_id: Mapped[str] = mapped_column(String(64))
    period: Mapped[str] = mapped_column(String(8))
    timezone: Mapped[str] = mapped_column(String(64))
    limit_nano: Mapped[NanoUSD]
    raised_until: Mapped[datetime | None]
    single_from: Mapped[int | None]


class Budget(Base):
    """One period of a rule: what it allows, what is spent, what is held by running solves.

    `target` is the limit that it is to have; `lim` is above it as long as more than that is used.
    `raised` is what the raises that were live when it was last set add to the target, the first of
    them until `raised_until`; None where there is none.
    `session` names the one session that a row of a session's rule bounds; else it is empty.
    """

    __tablename__ = "budget"
    __table_args__ = (
        CheckConstraint("posted >= 0", name="posted"),
        CheckConstraint("reserved >= 0", name="reserved"),
        CheckConstraint("posted + reserved <= lim", name="fits"),
        UniqueConstraint("rule_id", "session", "period_start"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    rule_id: Mapped[str] = mapped_column(ForeignKey("budget_rule.id"))
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    lim: Mapped[NanoUSD]
    posted: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0))
    reserved: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0))
    session: Mapped[str] = mapped_column(String(128), default="", server_default="")
    target: Mapped[NanoUSD | None]
    raised: Mapped[NanoUSD] = mapped_column(default=NanoUSD(0), server_default="0")
    raised_until: Mapped[datetime | None]


class BudgetRaise(Base):
    """Append-only: so much more a period for a while, by whose word and why."""

    __tablename__ = "budget_raise"
    __table_args__ = (CheckConstraint("by_nano > 0", name="by"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    rule_id: Mapped[str] = mapped_column(ForeignKey("budget_rule.id"), index=True)
    by_nano: Mapped[NanoUSD]
    until: Mapped[datetime]
    reason: Mapped[str] = mapped_column(String(200))
    made_at: Mapped[datetime]


class LimitRule(Base):
    """So many requests or tokens a minute, or solves at once; none where `most` is empty."""

    __tablename__ = "limit_rule"
    __table_args__ = (
        CheckConstraint("most >= 0", name="most"),
        UniqueConstraint("scope", "scope_id", "unit"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    scope: Mapped[str] = mapped_column(String(16))
    scope_id: Mapped[str] = mapped_column(String(64))
    unit: Mapped[str] = mapped_column(String(20))
    most: Mapped[int | None]


class LimitWindow(Base):
    """A minute of a limit, or all time: what ended solves used of it, and live ones hold."""

    __tablename__ = "limit_window"
    __table_args__ = (
        CheckConstraint("used >= 0", name="used"),
        CheckConstraint("held >= 0", name="held"),
        CheckConstraint("used + held <= lim", name="fits"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    rule_id: Mapped[str] = mapped_column(ForeignKey("limit_rule.id"), index=True)
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    lim: Mapped[int]
    target: Mapped[int]
    used: Mapped[int] = mapped_column(default=0)
    held: Mapped[int] = mapped_column(default=0)


class Solve(Base):
    """One request's life and money. `token` fences decisions: each claim of the solve raises it.

    `cost_center` is the one its key, or else its project, was bound to when it opened.
    `budgets` lists the budget rows that admitted it, in the order they were updated; `result` holds
    the outcome without its texts, which are to be erased at `erase_at`; None if they never are, or
    have been. `resumed_from` is the solve whose tree it went on with, and `replay_of` the one whose
    record it repeated without a call. `limits` lists the windows of limits that it counts in, by
    unit.
    """

    __tablename__ = "solve"
    __table_args__ = (
        CheckConstraint("posted >= 0", name="posted"),
        CheckConstraint("inflight >= 0", name="inflight"),
        CheckConstraint("posted + inflight <= hold", name="fits"),
        CheckConstraint("hold <= cap", name="cap"),
        Index("ix_solve_open", "state", postgresql_where=text("completed_at IS NULL")),
        Index(
            "ix_solve_erase_at",
            "erase_at",
            sqlite_where=text("erase_at IS NOT NULL"),
            postgresql_where=text("erase_at IS NOT NULL"),
        ),
        Index("ix_solve_tenant_id_id", "tenant_id", "id"),
        Index(
            "ix_solve_resumed_from",
            "resumed_from",
            sqlite_where=text("resumed_from IS NOT NULL"),
            postgresql_where=text("resumed_from IS NOT NULL"),
        ),
        Index(
            "ix_solve_replay_of",
            "replay_of",
            sqlite_where=text("replay_of IS NOT NULL"),
            postgresql_where=text("replay_of IS NOT NULL"),
        ),
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
    erase_at: Mapped[datetime | None]
    route: Mapped[str | None] = mapped_column(String(16))
    cost_center: Mapped[str | None] = mapped_column(String(64))
    resumed_from: Mapped[str | None] = mapped_column(String(40))
    replay_of: Mapped[str | None] = mapped_column(String(40))
    result: Mapped[dict[str, Any] | None] = mapped_column(Document)
    org_id: Mapped[str | None] = mapped_column(String(40))
    session: Mapped[str | None] = mapped_column(String(128))
    limits: Mapped[dict[str, list[str]] | None] = mapped_column(Document)


class SolveInput(Base):
    """What a run needs after a crash; erasable once its solve has ended.

    `inherited` is what it needs of the solve that it goes on from.
    """

    __tablename__ = "solve_input"
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"), primary_key=True)
    request: Mapped[dict[str, Any]] = mapped_column(Document)
    plan: Mapped[dict[str, Any]] = mapped_column(Document)
    inherited: Mapped[dict[str, Any] | None] = mapped_column(Document)


class InheritedNode(Base):
    """A node that a solve's tree began with: the call of an earlier solve that paid for it."""

    __tablename__ = "inherited_node"
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"), primary_key=True)
    node: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[str] = mapped_column(ForeignKey("call.id"))


class Call(Base):
    """The journal: an upstream call's intent, committed before it, and its outcome, after.

    `ask`, `parent`, `asked_seq` and `told_seq` place a trial in its solve's search log, from which
    the tree can be rebuilt; `propensity` and `widen` say how likely it and going wider were.
    `limit_windows` are those in which its tokens count, where they are not its solve's own.
    `late_cost` is what a call that was closed as cancelled or orphaned proved to have cost;
    `reconciled_at` is when its provider's own report last said so.
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
    reconciled_at: Mapped[datetime | None]
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
    max_tokens: Mapped[int | None]
    limit_windows: Mapped[list[str] | None] = mapped_column(Document)


class Correction(Base):
    """Why an account was corrected after the fact: append-only, once a `reference` and `subject`.

    The reference is the caller's own, the subject what of it this row is about. `call_id` is the
    call whose charge was wrong, where it was one call's.
    """

    __tablename__ = "correction"
    __table_args__ = (
        CheckConstraint("kind IN ('refund','adjustment','reconciliation')", name="kind"),
        CheckConstraint("kind <> 'refund' OR call_id IS NOT NULL", name="refund"),
        UniqueConstraint("account", "reference", "subject"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    account: Mapped[str] = mapped_column(String(80))
    reference: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(200))
    solve_id: Mapped[str | None] = mapped_column(String(40), index=True)
    call_id: Mapped[str | None] = mapped_column(ForeignKey("call.id"))
    reason: Mapped[str] = mapped_column(String(200))
    posted_at: Mapped[datetime]


class Entry(Base):
    """Append-only double entry: the amounts of one call's, or one correction's, kind sum to zero.

    An entry is about a call or about a correction, never both: what a call cost is posted once, and
    it may be corrected any number of times.
    """

    __tablename__ = "entry"
    __table_args__ = (
        CheckConstraint("(call_id IS NULL) <> (correction_id IS NULL)", name="subject"),
        UniqueConstraint("call_id", "kind", "account"),
        UniqueConstraint("correction_id", "kind", "account"),
        Index("ix_entry_account_posted_at", "account", "posted_at"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    call_id: Mapped[str | None] = mapped_column(ForeignKey("call.id"))
    correction_id: Mapped[str | None] = mapped_column(ForeignKey("correction.id"))
    solve_id: Mapped[str | None] = mapped_column(String(40), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    account: Mapped[str] = mapped_column(String(80))
    amount: Mapped[NanoUSD]
    price_version: Mapped[str | None] = mapped_column(String(24))
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


class FailedClaim(Base):
    """A claim of a solve that ended by a bug: written once, with how many calls were answered then.

    Who is killed writes none.
    """

    __tablename__ = "failed_claim"
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"), primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True)
    answered: Mapped[int]
    failed_at: Mapped[datetime]


class Idempotency(Base):
    """A caller's own name for a request: the solve it started, and what it asked."""

    __tablename__ = "idempotency"
    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    solve_id: Mapped[str] = mapped_column(ForeignKey("solve.id"))
    expires_at: Mapped[datetime]
