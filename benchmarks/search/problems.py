"""Synthetic search problems: what an answer scores, what it costs, and what is hidden behind it.

The first three are those of the published comparison (P1 to P3, draw for draw); each of the others
breaks one assumption that a policy may have made. Nothing here knows which policy is asking.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import floor
from types import MappingProxyType
from typing import Final

import numpy as np


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: `score` is what the judge saw, `true` what it is worth, the rest is hidden."""

    score: float
    true: float
    ceiling: float = 1.0
    depth: int = 1
    is_dead: bool = False


Attempt = Callable[[str, Answer | None, np.random.Generator], Answer | None]
"""One call of an expert, on an answer or (None) afresh; a reply of None is a failed call."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`costs` names the experts and what a call of each costs, whether it fails or not."""

    attempt: Attempt
    costs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"m0": 1}))
    score_step: float = 1e-3
    score_noise: float = 0.0
    """What a search is told of the judge's error."""


@dataclass(frozen=True, slots=True)
class Skill:
    """A fresh answer scores Normal(start); a refinement adds Normal(step)."""

    start: tuple[float, float]
    step: tuple[float, float]


def unit(score: float) -> float:
    """`score` cut to [0, 1]."""
    return min(1.0, max(0.0, score))


def climb(
    skill: Skill,
    parent: Answer | None,
    rng: np.random.Generator,
    ceilings: tuple[float, float],
) -> Answer:
    """A fresh answer under a ceiling of its own, or a step from `parent` under the one it has."""
    if parent is None:
        true = unit(rng.normal(*skill.start))
        return Answer(true, true, ceiling=rng.uniform(*ceilings))
    true = min(parent.ceiling, unit(parent.true + rng.normal(*skill.step)))
    return Answer(true, true, parent.ceiling, parent.depth + 1)


def rounded_down(answer: Answer, parts: int) -> Answer:
    """The score as a judge sees it who counts passed tests, of which there are `parts`."""
    return replace(answer, score=floor(answer.true * parts + 1e-9) / parts)


def wide(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """P1: refining hurts on the average, independent restarts are best."""
    score = rng.beta(2.0, 5.0) if parent is None else unit(parent.true + rng.normal(-0.05, 0.10))
    return Answer(float(score), float(score))


def deep(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """P2: refining helps, up to a hidden ceiling drawn with the fresh answer."""
    return climb(Skill((0.20, 0.08), (0.03, 0.07)), parent, rng, (0.35, 1.0))


MULTI: Final = {
    "m0": Skill((0.40, 0.10), (-0.02, 0.05)),
    "m1": Skill((0.15, 0.10), (0.05, 0.06)),
    "m2": Skill((0.25, 0.20), (0.00, 0.12)),
}


def multi(expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """P3: a good starter, a good refiner and a noisy one; scores are tenths."""
    return rounded_down(climb(MULTI[expert], parent, rng, (0.5, 1.0)), 10)


def deceptive(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """Good starts have low ceilings: what looks best first ends lowest."""
    if parent is None and rng.random() < 0.5:
        return climb(Skill((0.50, 0.05), (0.0, 0.0)), None, rng, (0.55, 0.70))
    return climb(Skill((0.25, 0.08), (0.03, 0.06)), parent, rng, (0.75, 1.0))


def noisy(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """The judge errs: an answer that seems better may not be."""
    answer = climb(Skill((0.25, 0.10), (0.03, 0.06)), parent, rng, (0.40, 0.90))
    return replace(answer, score=unit(answer.true + rng.normal(0.0, 0.07)))


DEAR: Final = {
    "cheap": Skill((0.25, 0.10), (0.01, 0.05)),
    "dear": Skill((0.45, 0.10), (0.05, 0.06)),
}


def dear(expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """A good expert that costs eight times as much as a poor one."""
    return climb(DEAR[expert], parent, rng, (0.5, 1.0))


def jackpot(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """One fresh answer in a hundred is perfect, the others are poor and refining does little."""
    if parent is None:
        score = 1.0 if rng.random() < 0.01 else float(rng.beta(2.0, 8.0))
        return Answer(score, score, ceiling=unit(score + 0.1))
    return climb(Skill((0.0, 0.0), (0.0, 0.03)), parent, rng, (0.0, 0.0))


TIES: Final = {
    "m0": Skill((0.35, 0.12), (0.01, 0.05)),
    "m1": Skill((0.20, 0.10), (0.05, 0.08)),
}


def ties(expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """Scores are quarters, so that most of a climb is not seen."""
    return rounded_down(climb(TIES[expert], parent, rng, (0.5, 1.05)), 4)


FLAKY: Final = {
    "steady": Skill((0.25, 0.10), (0.02, 0.06)),
    "flaky": Skill((0.30, 0.10), (0.03, 0.06)),
}


def flaky(expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer | None:
    """The slightly better expert fails in six calls of ten, and costs as much when it does."""
    if rng.random() < (0.6 if expert == "flaky" else 0.02):
        return None
    return climb(FLAKY[expert], parent, rng, (0.4, 1.0))


def drifting(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """Each refinement gains less than the one before it, and in the end loses."""
    depth = 0 if parent is None else parent.depth
    skill = Skill((0.25, 0.10), (0.10 * 0.75**depth - 0.02, 0.05))
    return climb(skill, parent, rng, (1.0, 1.0))


def dead_ends(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """One node in three leads nowhere, whatever lineage it is of; its parent may still."""
    if parent is not None and parent.is_dead:
        score = unit(parent.true - abs(rng.normal(0.0, 0.05)))
        return Answer(score, score, depth=parent.depth + 1, is_dead=True)
    answer = climb(Skill((0.20, 0.08), (0.03, 0.06)), parent, rng, (1.0, 1.0))
    return replace(answer, is_dead=bool(rng.random() < 0.35))


def useless(_expert: str, parent: Answer | None, rng: np.random.Generator) -> Answer:
    """Refining mostly gives the same answer back, else a worse one; only fresh answers help."""
    if parent is None:
        score = float(rng.beta(2.0, 4.0))
    else:
        score = unit(parent.true - (0.0 if rng.random() < 0.7 else abs(rng.normal(0.0, 0.10))))
    return Answer(score, score)


PROBLEMS: Final = MappingProxyType({
    "P1 wide": Problem(wide),
    "P2 deep": Problem(deep),
    "P3 multi": Problem(multi, MappingProxyType(dict.fromkeys(MULTI, 1)), score_step=0.1),
    "deceptive": Problem(deceptive),
    "noisy": Problem(noisy, score_noise=0.07),
    "dear": Problem(dear, MappingProxyType({"cheap": 1, "dear": 8})),
    "jackpot": Problem(jackpot),
    "ties": Problem(ties, MappingProxyType(dict.fromkeys(TIES, 1)), score_step=0.25),
    "flaky": Problem(flaky, MappingProxyType(dict.fromkeys(FLAKY, 1))),
    "drifting": Problem(drifting),
    "dead ends": Problem(dead_ends),
    "useless": Problem(useless),
})  # fmt: skip
