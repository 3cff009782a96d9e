"""What the gate decided and what came of it, audits, versions of its weights, and scorecards.

A row has counts of a text and never the text, so it outlives the texts of its solve.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Document
from app.money import NanoUSD


class GateExample(Base):
    """One solve that the gate decided, with the labels that are known of it.

    `pair` names the two arms' experts, `answered` the arm whose answer was returned, and `same`
    says whether the cheap answer was equal to that. `cheap`, `strong` and `search` are in [0, 1]:
    was the arm right, by `source`; `feedback` is what the caller says of the returned answer. A row
    may begin with its feedback, where that comes first.
    """

    __tablename__ = "gate_example"
    __table_args__ = (Index("ix_gate_example_labelled_at_solve_id", "labelled_at", "solve_id"),)
    solve_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    pair: Mapped[str | None] = mapped_column(String(140))
    category: Mapped[str | None] = mapped_column(String(64))
    pooled: Mapped[bool] = mapped_column(default=False)
    version: Mapped[str | None] = mapped_column(String(40))
    propensity: Mapped[float | None]
    route: Mapped[str | None] = mapped_column(String(16))
    answered: Mapped[str | None] = mapped_column(String(16))
    same: Mapped[bool | None]
    agreed: Mapped[bool | None]
    features: Mapped[list[float] | None] = mapped_column(Document)
    cheap_cost: Mapped[NanoUSD | None]
    second_cost: Mapped[NanoUSD | None]
    strong_cost: Mapped[NanoUSD | None]
    search_cost: Mapped[NanoUSD | None]
    source: Mapped[str | None] = mapped_column(String(16))
    cheap: Mapped[float | None]
    strong: Mapped[float | None]
    search: Mapped[float | None]
    feedback: Mapped[float | None]
    labelled_at: Mapped[datetime]


class GateAudit(Base):
    """An accepted answer whose alternative was asked, too, on the operator's budget.

    `audit_id` is the solve that asked it, of the operator's tenant; `versions` are those of the two
    experts of `pair`, `propensity` how likely the audit was, `cost` what it came to. `same` says
    whether both answered alike, `chance` what the gate gave the accepted one. `cheap` and
    `alternative` are how right they were by a decisive evaluator, `feedback` by the caller, each in
    [0, 1]; `verified_at` is when the first of these labels of the accepted answer came. Rows stay:
    certificates are counted from them.
    """

    __tablename__ = "gate_audit"
    solve_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    audit_id: Mapped[str] = mapped_column(String(40))
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    pair: Mapped[str] = mapped_column(String(140))
    category: Mapped[str | None] = mapped_column(String(64))
    pooled: Mapped[bool]
    versions: Mapped[str] = mapped_column(String(24))
    propensity: Mapped[float]
    cost: Mapped[NanoUSD]
    same: Mapped[bool | None]
    chance: Mapped[float | None]
    cheap: Mapped[float | None]
    alternative: Mapped[float | None]
    feedback: Mapped[float | None]
    audited_at: Mapped[datetime]
    verified_at: Mapped[datetime | None]
    told_at: Mapped[datetime] = mapped_column(index=True)


class ExpertScore(Base):
    """How often an expert's fresh answers to a tenant's problems of a category were right.

    `category` is empty where there is none; `expert` names its version, too, for a changed one is
    another. `pooled` says whether the row counts for other tenants.
    """

    __tablename__ = "expert_score"
    __table_args__ = (
        CheckConstraint("answers > 0", name="answers"),
        CheckConstraint('"right" BETWEEN 0 AND answers', name="right"),
    )
    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    category: Mapped[str] = mapped_column(String(64), primary_key=True)
    expert: Mapped[str] = mapped_column(String(80), primary_key=True)
    pooled: Mapped[bool] = mapped_column(primary_key=True)
    answers: Mapped[int]
    right: Mapped[float]
    cost: Mapped[NanoUSD]
    told_at: Mapped[datetime] = mapped_column(index=True)


class GateWeights(Base):
    """A version of the weights; the one that was promoted last decides."""

    __tablename__ = "gate_weights"
    version: Mapped[str] = mapped_column(String(40), primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(Document)
    made_at: Mapped[datetime]
    promoted_at: Mapped[datetime | None] = mapped_column(index=True)
