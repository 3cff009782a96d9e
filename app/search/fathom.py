"""Fathom's own policy: try what promises most for its price.

A call is a fresh answer or a refinement: of the top of a lineage or, where the best of them seems
stuck, of the node before its top. Beliefs are drawn and not taken at their means (Thompson
sampling): several whole sets of them vote for a call each, and one of the votes is followed.

The statistics change in `told` and `abandoned` alone; choosing reads them and the generator.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.search.beliefs import believe
from app.search.growing import Floats
from app.search.lineages import NO_ORIGIN, Lineages
from app.search.normal import cdf
from app.search.policy import Choice
from app.search.prices import prices
from app.search.settings import SearchSettings
from app.search.tree import ROOT, Node, Tree
from app.search.trial import Stop, StopReason, Trial
from app.search.worth import Draw, Ends, Ints, draw, fresh_worth, refine_worth

VOTERS: Final = 4
"""Sets of beliefs drawn an ask. A choice's probability is its share of their votes."""
ENDS_MAX: Final = 24
"""So many lineages, the most promising by a plain rule, are judged; the work an ask is bounded."""


class Fathom:
    """Expected improvement per unit of cost, over experts and ends of lineages."""

    def __init__(self, settings: SearchSettings) -> None:
        self._max_depth = settings.max_depth
        self._value = settings.value
        self._expected_costs = dict(settings.expected_costs)
        self._lineages = Lineages()
        self._beliefs = believe(self._lineages)

    def asked(self, trial: Trial) -> None:
        """Nothing to count: trials in flight are seen when choosing."""

    def told(self, node: Node) -> None:
        """Count it, and think again about which lineages are saturated."""
        self._lineages.told(node)
        self._think()

    def abandoned(self, trial: Trial, cost: int) -> None:
        """Count it against the expert."""
        self._lineages.abandoned(trial, cost)
        self._think()

    def _think(self) -> None:
        self._beliefs = believe(self._lineages)
        self._lineages.saturated.rows[:] = self._beliefs.own

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice | Stop:
        """The call of largest worth; Stop(value) if the voters find none worth its price."""
        skills, best = self._lineages.skills, self._lineages.best_score
        rows = [skills.known(expert) for expert in experts]
        price = prices(skills, experts, self._expected_costs)
        drawn = draw(self._beliefs, rows, price, rng, VOTERS)
        ends = self._ends(float(drawn.drift.mean()))
        worth = np.concatenate(
            [
                fresh_worth(drawn, best, price, self._max_depth - 1),
                refine_worth(drawn, best, price, ends),
            ],
            axis=1,
        )
        if in_flight:
            worth *= self._undone(in_flight, experts, drawn, ends)
        if self._value is not None and worth.max(axis=1).mean() * self._value < 1:
            return Stop(StopReason.VALUE)
        return elect(worth.argmax(axis=1), drawn, ends, experts)

    def _ends(self, drift: float) -> Ends:
        """The tops of the most promising lineages, and one step back from the very best."""
        lineages, saturated = self._lineages, self._beliefs.saturated
        promise = lineages.best.rows + 5 * drift * (1 - saturated) ** 2 - saturated
        judged = np.arange(lineages.count)
        if lineages.count > ENDS_MAX:
            judged = np.argpartition(-promise, ENDS_MAX)[:ENDS_MAX]
        nodes = [lineages.tops[lineage] for lineage in judged]
        in_vain = list(saturated[judged])
        leader = int(lineages.best.rows.argmax()) if lineages.count else NO_ORIGIN
        if leader != NO_ORIGIN and lineages.backs[leader] != ROOT:
            nodes.append(lineages.backs[leader])
            # That node did gain: it can fail only by a ceiling that all its branches share.
            in_vain.append(self._beliefs.shared * saturated[leader])
        return Ends(
            nodes=np.array(nodes, dtype=np.int64),
            scores=np.array([lineages.score(node) for node in nodes]),
            saturated=np.array(in_vain),
            room=self._max_depth - np.array([lineages.depth(node) for node in nodes]),
        )

    def _undone(
        self, in_flight: Sequence[Trial], experts: Sequence[str], drawn: Draw, ends: Ends
    ) -> Floats:
        """By voter and option: the chance that trials in flight from the same place all fail.

        Another call from there counts only then: else there will be a better place.
        """
        chance = np.ones((VOTERS, len(experts) + len(ends.nodes)))
        best = self._lineages.best_score
        for trial in in_flight:
            if trial.expert not in experts:
                continue
            expert = experts.index(trial.expert)
            if trial.parent == ROOT:
                deviation = np.sqrt(drawn.start_variance[expert])
                chance[:, : len(experts)] *= cdf((best - drawn.start[:, expert]) / deviation)[
                    :, None
                ]
            else:
                same = len(experts) + np.flatnonzero(ends.nodes == trial.parent)
                chance[:, same] *= 1 - drawn.chance[:, expert, None]
        return chance


def elect(votes: Ints, drawn: Draw, ends: Ends, experts: Sequence[str]) -> Choice:
    """Follow the first voter, who is drawn like any other; count who voted for the same call."""
    calls = [
        (ROOT, experts[int(vote)])
        if vote < len(experts)
        else (int(ends.nodes[vote - len(experts)]), experts[int(refiner)])
        for vote, refiner in zip(votes, drawn.refiner, strict=True)
    ]
    parent, expert = calls[0]
    return Choice(
        parent,
        expert,
        probability=calls.count(calls[0]) / len(calls),
        widen=float(np.mean(votes < len(experts))),
    )
