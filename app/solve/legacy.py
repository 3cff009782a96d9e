"""What a solve takes over from the one that it resumes: a tree, and the answers behind it. Pure.

All of it is stored with the heir, by value: whatever becomes of the earlier solve's texts, or of
the policy that it ran under, it runs to its end. Then its copies go with what they are copies of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.ids import SolveId
from app.ledger.inheritance import Inheritance
from app.ledger.journal import text_name
from app.ledger.records import CallRecord
from app.search.codec import decode, encode
from app.search.events import Event
from app.search.search import Search, replay
from app.solve.attempt import Past, Reply
from app.solve.engine import search_settings
from app.solve.past import reply_of
from app.solve.plan import Plan, Seat
from app.solve.request import SolveRequest, to_document

UNSEATED = "its expert is not asked any more"
"""Why a trial is given up that an earlier solve began and nobody here can make."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """The log of the search so far, and for each of its nodes the answer that it is made of."""

    solve_id: SolveId
    log: tuple[Event, ...]
    replies: tuple[Reply, ...]

    @property
    def because(self) -> str:
        """Why there is a search, in words a caller can read."""
        return f"the request resumes {self.solve_id}"

    def past(self, own: Past | None = None) -> Past:
        """What need not be asked again; the bill has only the heir's `own` lines."""
        own = Past() if own is None else own
        taken_over = {reply.op: reply for reply in self.replies}
        return replace(own, replies=taken_over | dict(own.replies))

    def inheritance(self, *, is_replay: bool = False) -> Inheritance:
        """As the ledger keeps it with the heir: one that goes on from here, or a replay."""
        stored = _Stored([encode(event) for event in self.log], self._seats())
        return Inheritance(
            calls=[reply.call_id for reply in self.replies],
            document=to_document(stored),
            texts={text_name(reply.op): reply.completion.text for reply in self.replies},
            resumed_from=None if is_replay else self.solve_id,
            replay_of=self.solve_id if is_replay else None,
        )

    def _seats(self) -> tuple[Seat, ...]:
        return tuple({_who(reply.seat): reply.seat for reply in self.replies}.values())


@dataclass(frozen=True, slots=True)
class _Stored:
    log: list[dict[str, object]]
    seats: tuple[Seat, ...]


def seated(legacy: Legacy, request: SolveRequest, plan: Plan) -> tuple[Legacy, Search]:
    """The legacy as the plan's experts can go on with it, and the search to go on with.

    Trials of others are given up; experts whose failures had ended their use get another chance.
    """
    settings = search_settings(request, plan, inherited=len(legacy.log))
    search = replay(settings, legacy.log)
    for trial in search.in_flight:
        if trial.expert not in settings.experts:
            search.abandon(trial.id, 0, UNSEATED)
    if search.experts != settings.experts:
        search.set_experts(())
        search.set_experts(settings.experts)
    taken_over = replace(legacy, log=tuple(search.log))
    return taken_over, replay(replace(settings, inherited=len(search.log)), search.log)


def legacy_from(
    solve_id: SolveId,
    document: Mapping[str, Any],
    calls: Sequence[CallRecord],
    texts: Mapping[str, str],
) -> Legacy:
    """The legacy that was stored with its heir; `calls` are those of its nodes, in order."""
    stored = msgspec.convert(document, _Stored)
    seats = {_who(seat): seat for seat in stored.seats}
    replies = [
        reply_of(
            call, seats[call.expert, call.expert_version], texts[text_name(call.op)], call.cost
        )
        for call in calls
    ]
    return Legacy(solve_id, tuple(map(decode, stored.log)), tuple(replies))


def _who(seat: Seat) -> tuple[str, str]:
    return seat.expert.name, seat.expert.version
