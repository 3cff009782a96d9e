"""What the gate has decided and what came of it; and every version of its weights.

A row has counts of a text and never the text, so it outlives the texts of its solve.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
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


class GateWeights(Base):
    """A version of the weights; the one that was promoted last decides."""

    __tablename__ = "gate_weights"
    version: Mapped[str] = mapped_column(String(40), primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(Document)
    made_at: Mapped[datetime]
    promoted_at: Mapped[datetime | None] = mapped_column(index=True)
