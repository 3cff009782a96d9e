"""Learning from searches that are over, for those to come: from trees to experience."""

from collections.abc import Iterable, Sequence

import numpy as np

from app.search.beliefs import believe
from app.search.experience import Experience, SkillExperience
from app.search.growing import Floats
from app.search.lineages import Lineages
from app.search.tree import Node


def lessons(searches: Iterable[Sequence[Node]]) -> Experience:
    """What the nodes of some searches taught, at full weight; see `Experience.weighing`."""
    fresh: dict[str, Floats] = {}
    steps: dict[str, Floats] = {}
    ceilings = risen = 0.0
    for nodes in searches:
        seen = seen_in(nodes)
        live = 1.0 - seen.saturated.rows
        # What failed in a lineage that was live after all, failed by the expert.
        missed = live @ seen.fails.rows
        for expert, row in seen.skills.row_of.items():
            settled = seen.skills.steps.rows[row] + (missed[row], 0, 0, 0)
            fresh[expert] = fresh.get(expert, np.zeros(3)) + seen.skills.fresh.rows[row]
            steps[expert] = steps.get(expert, np.zeros(4)) + settled
        ceilings += float(seen.saturated.rows.sum())
        risen += float((seen.best.rows - seen.first.rows).sum())
    skills = [
        SkillExperience(expert, _three(fresh[expert]), _four(steps[expert])) for expert in fresh
    ]
    return Experience(tuple(skills), ceilings, risen)


def seen_in(nodes: Sequence[Node]) -> Lineages:
    """The counts after `nodes`, as the search that made them had them at its end."""
    lineages = Lineages()
    for node in nodes:
        lineages.told(node)
        lineages.saturated.rows[:] = believe(lineages).own
    return lineages


def _three(sums: Floats) -> tuple[float, float, float]:
    return float(sums[0]), float(sums[1]), float(sums[2])


def _four(sums: Floats) -> tuple[float, float, float, float]:
    return float(sums[0]), float(sums[1]), float(sums[2]), float(sums[3])
