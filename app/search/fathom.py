"""Fathom's own policy: try what promises most for its price.

A call is a fresh answer or a refinement: of the top of a lineage or, where the best of them seems
stuck, of the node before its top. Beliefs are drawn and not taken at their means (Thompson
sampling): several whole sets of them vote for a call each, and one of the votes is followed.

What is known changes in `told` and `abandoned` alone; choosing reads it, and the generator.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.search.beliefs import believe
from app.search.growing import Floats
from app.search.judge import Judge
from app.search.lineages import NO_ORIGIN, Lineages
from app.search.policy import Choice
from app.search.prices import Scarcity, prices
from app.search.settings import SearchSettings
from app.search.tree import ROOT, Node, Tree
from app.search.trial import Stop, StopReason, Trial
from app.search.worth import Draw, Ends, Passing, Standing, draw, fresh_worth, refine_worth

VOTERS: Final = 4
"""Sets of beliefs drawn an ask. A choice's probability is its share of their votes."""
ENDS_MAX: Final = 24
"""So many lineages, the most promising by a plain rule, are judged; the work an ask is bounded."""
COARSEST: Final = 0.25
FINE: Final = 1e-3
"""Scores with fewer levels than four are taken for fine ones: the sums over levels would, of
answers that were all wrong, expect no better of anybody. Told of 0 or 1, it solved .90 in place of
.96 within 48 calls where refining helps, and .88 in place of .91 where it does not (400 seeds)."""
VERDICTS: Final = 5
"""After every call the voters say what the best option is worth, in units of its price. Whether to
stop, the mean of the last so many verdicts decides: the lowest of many draws alone would end a
search too soon."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The options of one ask: a fresh answer of each expert, then a refinement of each end."""

    experts: Sequence[str]
    drawn: Draw
    ends: Ends
    price: Floats
    """Of a fresh answer and of a refinement, by expert."""
    worth: Floats
    """By voter and option."""

    def call(self, voter: int, option: int) -> tuple[int, str]:
        """The node to expand and the expert to expand it with."""
        if option < len(self.experts):
            return ROOT, self.experts[option]
        expert = self.experts[int(self.drawn.refiner[voter])]
        return self.ends.nodes[option - len(self.experts)], expert


class Fathom:
    """Expected improvement per unit of cost, over experts and ends of lineages."""

    def __init__(self, settings: SearchSettings) -> None:
        self._experts = settings.experts
        self._max_depth = settings.max_depth
        self._value = settings.value or 0
        self._target = 1.0 if settings.target_score is None else settings.target_score
        self._pass_value = settings.pass_value or 0
        self._expected_costs = dict(settings.expected_costs)
        self._scarcity = Scarcity.of(settings)
        self._step = settings.score_step if settings.score_step <= COARSEST else FINE
        self._lineages = Lineages(settings.experience)
        self._judge = Judge(settings.score_noise)
        self._beliefs = believe(self._lineages, settings.score_noise)
        self._verdicts: deque[float] = deque(maxlen=VERDICTS)
        # The first is what the search is worth before it begins: it is not ended lightly.
        self._weigh()

    def asked(self, trial: Trial) -> None:
        """Nothing to count: trials in flight are seen when choosing."""

    def told(self, node: Node) -> None:
        """Count it, and think again about which lineages are saturated."""
        self._lineages.told(node)
        self._judge.told(node)
        self._scarcity.told(node)
        self._think()

    def abandoned(self, trial: Trial, cost: int) -> None:
        """Count it against the expert."""
        self._lineages.abandoned(trial, cost)
        self._think()

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice | Stop:
        """The call of largest worth; Stop(value) once none has been worth its price lately."""
        verdicts = self._verdicts
        if verdicts and self._lineages.count and sum(verdicts) < len(verdicts):
            return Stop(StopReason.VALUE)
        skills = self._lineages.skills
        slot = self._scarcity.node_price(skills.spent, in_flight=len(in_flight))
        ballot = self._ballot(experts, rng, slot=slot)
        return elect(ballot, ballot.worth * left(ballot, in_flight) if in_flight else ballot.worth)

    def _think(self) -> None:
        self._beliefs = believe(self._lineages, self._judge.noise)
        self._lineages.saturated.rows[:] = self._beliefs.own
        self._weigh()

    def _weigh(self) -> None:
        if not (self._value or self._pass_value):
            return
        rng = np.random.default_rng(self._lineages.skills.calls_ended)
        ballot = self._ballot(self._experts, rng)
        worth = self._value * ballot.worth
        if self._pass_value:
            tries = self._beliefs.fresh_count[self._rows(self._experts)]
            passing = Passing(self._target, self._step, tries)
            worth += self._pass_value * self._worth(
                ballot.drawn, passing, ballot.price, ballot.ends
            )
        self._verdicts.append(float(worth.max(axis=1).mean()))

    def _ballot(
        self, experts: Sequence[str], rng: np.random.Generator, *, slot: float = 0.0
    ) -> Ballot:
        lineages = self._lineages
        standing = Standing(self._judge.best, lineages.record, self._step)
        price = prices(lineages.skills, experts, self._expected_costs) + slot
        drawn = draw(self._beliefs, self._rows(experts), price, rng, VOTERS)
        ends = self._ends(float(drawn.drift.mean()))
        return Ballot(experts, drawn, ends, price, self._worth(drawn, standing, price, ends))

    def _worth(self, drawn: Draw, aim: Standing | Passing, price: Floats, ends: Ends) -> Floats:
        fresh = fresh_worth(drawn, aim, price, self._max_depth - 1)
        return np.concatenate([fresh, refine_worth(drawn, aim, price, ends)], axis=1)

    def _rows(self, experts: Sequence[str]) -> list[int]:
        return [self._lineages.skills.known(expert) for expert in experts]

    def _ends(self, drift: float) -> Ends:
        """The tops of the most promising lineages, and one step back from the very best."""
        lineages, saturated = self._lineages, self._beliefs.saturated
        judged = np.arange(lineages.count)
        if lineages.count > ENDS_MAX:
            promise = lineages.best.rows + 5 * drift * (1 - saturated) ** 2 - saturated
            judged = np.argpartition(-promise, ENDS_MAX)[:ENDS_MAX]
        nodes = [lineages.tops[lineage] for lineage in judged]
        in_vain = list(saturated[judged])
        leader = int(lineages.best.rows.argmax()) if lineages.count else NO_ORIGIN
        if leader != NO_ORIGIN and lineages.backs[leader] != ROOT:
            nodes.append(lineages.backs[leader])
            # That node did gain: it can fail only by a ceiling that all its branches share.
            in_vain.append(self._beliefs.shared * saturated[leader])
        return Ends(
            nodes=nodes,
            scores=np.array([self._judge.worth[node] for node in nodes]),
            saturated=np.array(in_vain),
            room=self._max_depth - np.array([lineages.depth(node) for node in nodes]),
        )


def left(ballot: Ballot, in_flight: Sequence[Trial]) -> Floats:
    """By voter and option, the share of its worth that is left beside the trials `in_flight`.

    Another refinement of a node counts if those in flight from there gain nothing: else there is a
    better place to go on from. Another fresh answer counts if it is the best of them.
    """
    flying = Counter(trial.parent for trial in in_flight)
    fresh = np.full((len(ballot.worth), len(ballot.experts)), 1 / (1 + flying[ROOT]))
    here = np.array([flying[node] for node in ballot.ends.nodes])
    return np.concatenate([fresh, (1 - ballot.drawn.chance[:, None]) ** here], axis=1)


def elect(ballot: Ballot, worth: Floats) -> Choice:
    """Follow the first voter, who is drawn like any other, and count who would have done the same.

    Given the draws, that is the chance of this choice: the voters might have come in any order.
    """
    calls = [ballot.call(voter, int(option)) for voter, option in enumerate(worth.argmax(axis=1))]
    parent, expert = calls[0]
    return Choice(
        parent,
        expert,
        probability=calls.count(calls[0]) / len(calls),
        widen=sum(call[0] == ROOT for call in calls) / len(calls),
    )
