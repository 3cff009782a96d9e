"""Solves that end: no call stays open, what was spent is posted, the rest is freed.

The rows are read and locked, what becomes of each solve is worked out in plain code, and all of it
is written: as many journeys for a hundred solves as for one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Float, bindparam, select, update

from app.db.clock import Ago, Clock
from app.db.engine import WriteTx
from app.db.texts import storable_document
from app.ids import SolveId
from app.ledger import journal, late, limits
from app.ledger.budgets import Release, release
from app.ledger.journal import CUT_SHORT, UNMADE, CallResult, Closed, Intent, OpenCall, Told
from app.ledger.openings import Claim
from app.ledger.retention import erase_texts, keep_texts
from app.ledger.tables import Solve
from app.money import NanoUSD
from app.notices import outbox
from app.notices.notice import Notice

_LOCK: Final = (
    select(
        Solve.id,
        Solve.token,
        Solve.hold,
        Solve.posted,
        Solve.inflight,
        Solve.budgets,
        Solve.completed_at.is_not(None),
        Solve.limits,
    )
    .where(Solve.id.in_(bindparam("solves", expanding=True)))
    .order_by(Solve.id)  # in one order, so that two batches cannot wait for each other
    .with_for_update()
)
_CHARGE: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"))
    .values(posted=bindparam("spent"), inflight=bindparam("drawn"))
)
_END: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"))
    .values(
        state=bindparam("ended_as"),
        route=bindparam("by_route"),
        completed_at=Clock(),
        erase_at=Ago(bindparam("erase_ago_s", type_=Float())),
        result=bindparam("document"),
        posted=bindparam("spent"),
        hold=bindparam("spent"),
        inflight=0,
    )
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a solve ended. `texts` are kept apart from the `result`, and not at all if `erase`.

    Kept, they are kept for `keep_s` seconds; for good where that is None.
    `notices` are sent once it is written that it ended, and not otherwise.
    """

    state: str
    route: str | None
    result: Mapping[str, Any]
    texts: Mapping[str, str]
    erase: bool = False
    keep_s: float | None = None
    notices: Sequence[Notice] = ()


@dataclass(frozen=True, slots=True)
class Loose:
    """What a run has not yet written down when it ends: it goes with the finish.

    `told` is what a search was told of its answers; `outcome` is a call that has just ended;
    `unmade` is one that was journalled and never made.
    """

    told: Sequence[Told] = ()
    outcome: tuple[Intent, CallResult] | None = None
    unmade: Intent | None = None


NOTHING_LOOSE: Final = Loose()


@dataclass(frozen=True, slots=True)
class Finish:
    """One solve to end: by whom, how, and with what."""

    claim: Claim
    ending: Ending
    loose: Loose = NOTHING_LOOSE


@dataclass(slots=True)
class _Standing:
    """A solve's row, locked, as the finishes change it."""

    token: int
    hold: NanoUSD
    posted: NanoUSD
    inflight: NanoUSD
    budgets: Sequence[str]
    ended: bool
    limits: Mapping[str, Sequence[str]] | None = None
    calls: dict[str, OpenCall] = field(default_factory=dict[str, OpenCall])

    def close(self, call_id: str, result: CallResult) -> Closed | None:
        """Book a call's outcome; None where that was done before."""
        call = self.calls.pop(call_id, None)
        if call is None:
            return None
        room = NanoUSD(self.hold - self.posted - self.inflight)
        closed = Closed.of(call, result, room=room)
        self.posted = NanoUSD(self.posted + closed.split.tenant)
        self.inflight = NanoUSD(self.inflight - call.max_cost)
        return closed


@dataclass(slots=True)
class _Writing:
    """The rows to write."""

    closed: list[Closed] = field(default_factory=list[Closed])
    told: list[Told] = field(default_factory=list[Told])
    charged: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    ended: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    released: defaultdict[str, Release] = field(default_factory=lambda: defaultdict(Release))
    limited: dict[SolveId, Mapping[str, Sequence[str]]] = field(
        default_factory=dict[SolveId, Mapping[str, Sequence[str]]]
    )
    texts: list[tuple[SolveId, Mapping[str, str]]] = field(
        default_factory=list[tuple[SolveId, Mapping[str, str]]]
    )
    erased: list[SolveId] = field(default_factory=list[SolveId])
    notices: list[Notice] = field(default_factory=list[Notice])
    late: list[tuple[OpenCall, CallResult]] = field(
        default_factory=list[tuple[OpenCall, CallResult]]
    )

    def close(self, solve: _Standing, call_id: str, result: CallResult) -> bool:
        """Book a call's outcome, if it has none."""
        closed = solve.close(call_id, result)
        if closed is not None:
            self.closed.append(closed)
        return closed is not None

    def end(self, solve: _Standing, finish: Finish) -> None:
        """Close what is open, post what was spent, free the rest."""
        solve_id, ending = finish.claim.solve_id, finish.ending
        if finish.loose.unmade is not None:
            self.close(solve, finish.loose.unmade.call_id, UNMADE)
        for call_id in list(solve.calls):
            self.close(solve, call_id, CUT_SHORT)
        self.told += finish.loose.told
        for budget in solve.budgets:
            self.released[budget] += Release(held=solve.hold, spent=solve.posted)
        if solve.limits:
            self.limited[solve_id] = solve.limits
        self.ended.append(
            {
                "solve": solve_id,
                "ended_as": ending.state,
                "by_route": ending.route,
                "erase_ago_s": None if ending.erase or ending.keep_s is None else -ending.keep_s,
                "document": storable_document(ending.result),
                "spent": solve.posted,
            }
        )
        if ending.erase:
            self.erased.append(solve_id)
        else:
            self.texts.append((solve_id, ending.texts))
        self.notices += ending.notices
        solve.ended = True


async def end_together(tx: WriteTx, finishes: Sequence[Finish]) -> Sequence[bool]:
    """End each solve once; False for one that another process has taken over.

    What such a one reports of its last call is kept all the same: the money is gone.
    """
    solves = await _standings(tx, [finish.claim.solve_id for finish in finishes])
    writing = _Writing()
    owned = [_finish(writing, solves.get(one.claim.solve_id), one) for one in finishes]
    await journal.close(tx, writing.closed)
    for call, result in writing.late:
        await late.book(tx, call, result)
    await journal.note(tx, writing.told)
    if writing.charged:
        await tx.execute(_CHARGE, writing.charged)
    if writing.ended:
        await tx.execute(_END, writing.ended)
        await release(tx, writing.released)
    if writing.limited:
        await limits.end(tx, writing.limited)
    await keep_texts(tx, writing.texts)
    if writing.erased:
        await erase_texts(tx, writing.erased)
    await outbox.put(tx, writing.notices)
    return owned


def _finish(writing: _Writing, solve: _Standing | None, finish: Finish) -> bool:
    if solve is None:
        return False
    owned = solve.token == finish.claim.token
    booked = False
    if finish.loose.outcome is not None:
        intent, result = finish.loose.outcome
        booked = writing.close(solve, intent.call_id, result)
        if not booked:
            writing.late.append((finish.claim.call_of(intent), result))
    if owned and not solve.ended:
        writing.end(solve, finish)
    elif booked:
        writing.charged.append(
            {"solve": finish.claim.solve_id, "spent": solve.posted, "drawn": solve.inflight}
        )
    return owned


async def _standings(tx: WriteTx, solve_ids: Sequence[SolveId]) -> Mapping[SolveId, _Standing]:
    rows = await tx.execute(_LOCK, {"solves": solve_ids})
    solves = {SolveId(row[0]): _Standing(*row[1:]) for row in rows.all()}
    for call in await journal.open_calls(tx, solve_ids):
        solves[call.solve_id].calls[call.id] = call
    return solves
