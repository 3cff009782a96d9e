"""What one solve teaches: which arms answered what, at what cost, and how right they were. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np

from app.gate.logistic import Array
from app.gate.signals import NAMES
from app.gate.stack import Stack
from app.ids import SolveId, TenantId
from app.money import NanoUSD

CHEAP: Final = "cheap"
STRONG: Final = "strong"
SEARCH: Final = "search"
ARMS: Final = (CHEAP, STRONG, SEARCH)

VERIFIER: Final = "verifier"
ESCALATED: Final = "escalated"
AUDIT: Final = "audit"
"""As escalated, but nobody needed the strong answer: it was asked to find out."""

BOTH: Final = "both"
"""Counted like a head: problems of which both arms' outcomes are known."""

NOISE: Final = 0.1
"""How often two models agree and are wrong, or differ and the cheap one is right: .05 to .16."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A row of `gate_example`, as it is there described."""

    solve_id: SolveId
    tenant_id: TenantId
    pair: str
    category: str | None
    pooled: bool
    version: str
    propensity: float
    route: str
    answered: str | None
    same: bool | None
    agreed: bool | None
    features: tuple[float, ...] | None
    cheap_cost: NanoUSD | None = None
    second_cost: NanoUSD | None = None
    strong_cost: NanoUSD | None = None
    search_cost: NanoUSD | None = None
    source: str | None = None
    cheap: float | None = None
    strong: float | None = None
    search: float | None = None
    feedback: float | None = None
    labelled_at: datetime | None = None

    @property
    def labels(self) -> dict[str, float]:
        """How right each arm was, where anything tells.

        A verifier outranks what the caller says, and that the agreement of two models.
        """
        stored = {CHEAP: self.cheap, STRONG: self.strong, SEARCH: self.search}
        said = {arm: label for arm, label in stored.items() if label is not None}
        if self.feedback is None or self.source == VERIFIER:
            return said
        told: dict[str, float] = {}
        if self.answered is not None:
            told[self.answered] = self.feedback
        if self.same:
            told[CHEAP] = self.feedback
        elif self.same is not None and self.feedback == 1:
            told[CHEAP] = 0.0  # for the right answer was another
        return said | told

    @property
    def levels(self) -> tuple[str, ...]:
        """Where its labels count: the pair's and its category's pools, and its tenant's own."""
        own = own_level(self.tenant_id, self.pair, self.category)
        return (*pools(self.pair, self.category), own) if self.pooled else (own,)


def audited(lesson: Lesson, *, same: bool | None, alternative: float | None) -> Lesson:
    """With what an audit of its accepted answer says: a verifier's word, or else a pair's.

    `alternative` is how right a decisive evaluator found the strong answer, `same` whether it was
    the accepted one.
    """
    if lesson.source == VERIFIER:
        return replace(lesson, strong=alternative)
    if same is None:
        return lesson
    cheap, strong = (1 - NOISE, 1 - NOISE) if same else (NOISE, None)
    return replace(lesson, source=AUDIT, cheap=cheap, strong=strong)


def pools(pair: str, category: str | None) -> tuple[str, ...]:
    """What all tenants teach together, from wide to narrow."""
    return (pair,) if category is None else (pair, f"{pair} {category}")


def own_level(tenant_id: TenantId, pair: str, category: str | None) -> str:
    """What a tenant teaches itself."""
    return f"{tenant_id} {pair} {category or '-'}"


Told = tuple[str, float, float]
"""A head, its label, and what the weights expected."""


def told(lesson: Lesson, model: Stack) -> list[Told]:
    """What each head is told by a lesson."""
    labels = lesson.labels
    chances = model.expected(_standard(lesson, model), lesson.category, {})
    found: list[Told] = []
    for arm, label in labels.items():
        if arm in chances:
            found.append((arm, label, chances[arm]))
        if arm != SEARCH and lesson.agreed is not None:
            head = f"{'agreed' if lesson.agreed else 'differed'}.{arm}"
            if head in chances:
                found.append((head, label, chances[head]))
    if lesson.agreed is not None and "agrees" in chances:
        found.append(("agrees", float(lesson.agreed), chances["agrees"]))
    if {CHEAP, STRONG} <= labels.keys():
        found.append((BOTH, 1.0, 1.0))
    return found


def _standard(lesson: Lesson, model: Stack) -> Array:
    if lesson.features is None or len(lesson.features) != len(NAMES):
        return model.average()
    return model.scale.standard(np.array(lesson.features))


def stored(lesson: Lesson) -> Mapping[str, object]:
    """The row's columns, without its feedback and its time."""
    columns = {name: getattr(lesson, name) for name in _COLUMNS}
    return columns | {"features": None if lesson.features is None else list(lesson.features)}


_COLUMNS: Final = tuple(
    name for name in Lesson.__dataclass_fields__ if name not in {"feedback", "labelled_at"}
)
