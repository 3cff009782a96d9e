"""What happened in a solve, told as numbered events: a pure function of its log and its row.

Whoever tells it gives every event the same number, live or afterwards, so that a client that was
cut off goes on where it was, at any replica.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from app.ids import SolveId
from app.money import NanoUSD, to_usd
from app.search.events import Abandoned, Adopted, Asked, Event, ExpertsSet, Heard, Told
from app.search.tree import ROOT
from app.search.trial import Trial

PING: Final = ": ping\n\n"
"""A comment, so that nobody on the way takes the silence for the end."""


class Narration:
    """Tells one solve from its beginning, as text of server-sent events.

    What a client has heard, up to the number `after`, is counted and left out.
    """

    def __init__(self, solve_id: SolveId, *, created_at_s: int, after: int = 0) -> None:
        self._solve_id, self._created_at_s, self._after = solve_id, created_at_s, after
        self._number = 0
        self._trials: dict[int, Trial] = {}
        self._nodes = 0
        self._best: float | None = None

    def begin(self) -> str:
        """That there is a solve."""
        created = {"solve_id": self._solve_id, "created_at": self._created_at_s}
        return self._write("solve.created", created)

    def search(self, events: Iterable[Event]) -> str:
        """The next events of its search."""
        told = [self._write(name, facts) for event in events for name, facts in self._tell(event)]
        return "".join(told)

    def end(self, document: Mapping[str, Any]) -> str:
        """How it ended: the whole solve object."""
        return self._write(f"solve.{document['status']}", {"solve": document})

    def _tell(self, event: Event) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if event.seq == 1:
            yield "solve.search.started", {}
        match event:
            case Asked(trial=trial):
                self._trials[trial.id] = trial
                yield "solve.node.started", _place(trial)
            case Told(trial_id=trial_id, score=score, cost=cost):
                yield from self._node(_place(self._trials[trial_id]), score, cost)
            case Adopted(expert=expert, score=score, cost=cost):
                given = {"trial": None, "parent": ROOT, "expert": expert}
                yield from self._node(given, score, cost)
            case Abandoned(trial_id=trial_id, cost=cost, reason=reason):
                place = _place(self._trials[trial_id])
                facts = {"cost_usd": to_usd(NanoUSD(cost)), "reason": reason}
                yield "solve.node.failed", place | facts
            case Heard(expert=expert, cost=cost, trial_id=trial_id):
                place = {"trial": None, "parent": ROOT, "expert": expert}
                if trial_id is not None:
                    place = _place(self._trials[trial_id])
                yield from self._node(place, None, cost)
            case ExpertsSet():
                pass

    def _node(
        self, place: Mapping[str, Any], score: float | None, cost: int
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        self._nodes += 1
        facts = {"node": self._nodes, "score": score, "cost_usd": to_usd(NanoUSD(cost))}
        yield "solve.node.completed", {**place, **facts}
        if score is not None and (self._best is None or score > self._best):
            self._best = score
            yield "solve.best.updated", {"node": self._nodes, "score": score}

    def _write(self, name: str, facts: Mapping[str, Any]) -> str:
        self._number += 1
        if self._number <= self._after:
            return ""
        told = json.dumps({"type": name, "sequence_number": self._number, **facts})
        return f"id: {self._number}\nevent: {name}\ndata: {told}\n\n"


def _place(trial: Trial) -> dict[str, Any]:
    place = {"trial": trial.id, "parent": trial.parent, "expert": trial.expert}
    return place | ({"parents": list(trial.reads)} if trial.reads else {})
