"""Fitting the weights anew from what was learned, off every request's way.

Newer weights take over only if they tell the outcomes of the newest lessons, which they were not
fitted on, better than those that decide now do. Both are moved by labels afterwards; what is
compared is what they start from.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, nan
from typing import Any, Final

import numpy as np

from app.db.engine import Database, WriteTx
from app.gate.document import document_of, model_from
from app.gate.fitting import Example, fit_model
from app.gate.heads import Model
from app.gate.signals import NAMES
from app.gate.stack import SECOND, Stack
from app.learning import book
from app.learning.lesson import CHEAP, SEARCH, STRONG, Lesson, told

LESSONS_MAX: Final = 20_000
LABELS_MIN: Final = 400
"""Problems with both arms' outcomes; fewer say less than the shipped weights do."""
HELD_OUT: Final = 0.2
"""The newest part of the lessons, on which old and new weights are compared."""
EPSILON: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Refit:
    """What came of it. Losses are mean log losses on the held-out lessons, None without a fit."""

    lessons: int
    labels: int
    promoted: bool
    version: str | None = None
    loss: float | None = None
    loss_before: float | None = None


async def refit(database: Database, current: Mapping[str, Any]) -> Refit:
    """Fit on the pooled lessons; keep the weights, and let them decide if they are better.

    `current` are the weights that decide where none were promoted.
    """
    async with database.read() as tx:
        lessons = [one for one in await book.newest(tx, most=LESSONS_MAX) if one.pooled]
        version = await book.promoted(tx)
        document = None if version is None else await book.document_at(tx, version)
    before = model_from(current if document is None else document)
    # A dozen seconds of arithmetic, beside which requests go on.
    found, made = await asyncio.to_thread(fitted, lessons, before)
    if made is None:
        return found
    said = document_of(made) | {"figures": {"loss": found.loss, "loss_before": found.loss_before}}

    async def work(tx: WriteTx) -> None:
        await book.register(tx, said, promoted=found.promoted)

    await database.write(work)
    return found


def fitted(lessons: Sequence[Lesson], before: Model) -> tuple[Refit, Model | None]:
    """The weights fitted on the older lessons, and how they compare on the newer ones. Pure."""
    usable = [
        one for one in lessons if one.features is not None and len(one.features) == len(NAMES)
    ]
    both = sum({CHEAP, STRONG} <= one.labels.keys() for one in usable)
    if both < LABELS_MIN:
        return Refit(len(usable), both, promoted=False), None
    kept = max(1, int(len(usable) * HELD_OUT))
    older, newer = usable[:-kept], usable[-kept:]
    made = fit_model([_example(one) for one in older], version="refit")
    made = replace(made, heads=replace(made.heads, search=made.heads.search or before.heads.search))
    made = replace(made, version=document_of(made)["version"])
    loss, loss_before = _loss(newer, Stack.of(made)), _loss(newer, Stack.of(before))
    better = loss < loss_before
    return Refit(len(usable), both, better, made.version, loss, loss_before), made


def _example(lesson: Lesson) -> Example:
    labels = lesson.labels
    cost = lesson.strong_cost
    return Example(
        features=np.array(lesson.features),
        groups=() if lesson.category is None else (lesson.category,),
        cheap_right=labels.get(CHEAP, nan),
        strong_right=labels.get(STRONG, nan),
        strong_cost=float(cost) if cost else nan,
        agreed={} if lesson.agreed is None else {SECOND: lesson.agreed},
        search_right=labels.get(SEARCH, nan),
    )


def _loss(lessons: Sequence[Lesson], model: Stack) -> float:
    """Of every head on every label that it is told; infinite where it knows none of them."""
    losses = [
        -(label * log(_bounded(chance)) + (1 - label) * log(_bounded(1 - chance)))
        for one in lessons
        for head, label, chance in told(one, model)
        if head in {CHEAP, STRONG, SEARCH}
    ]
    return sum(losses) / len(losses) if losses else float("inf")


def _bounded(chance: float) -> float:
    return min(max(chance, EPSILON), 1.0)
