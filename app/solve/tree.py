"""A solve's tree as a reader sees it: the search's log joined with what the journal knows.

The log is read from the tree store while that has it, and otherwise rebuilt from the journal, which
never forgets; both give the same tree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.answers.extract import extract
from app.gate.gate import Route
from app.ids import SolveId
from app.ledger.journal import text_name
from app.ledger.postings import CallState
from app.ledger.records import CallRecord, SolveRecord
from app.money import NanoUSD
from app.search.codec import decode
from app.search.events import Abandoned, Adopted, Asked, Event, ExpertsSet, Heard, Told
from app.search.tree import ROOT
from app.search.trial import Trial
from app.solve.deliberation import Contribution, Deliberation
from app.solve.engine import (
    AnyNode,
    Engine,
    Settings,
    ask_again,
    engine_from,
    nodes_of,
    settings_of,
)
from app.solve.past import plan_from
from app.solve.request import SolveRequest, request_from
from app.store.treelog import TreeLog


@dataclass(frozen=True, slots=True)
class TreeNode:
    """An answered trial. `text` and `answer` are None once the texts were erased.

    `parents` are the nodes that it was made from, `parent` the first of the latest of them, and 0
    without any. `score` is None where nothing scored it. `propensity` and `widen` are those of the
    choice that led here; see `search.policy.Choice`.
    `inherited_from` is the earlier solve that paid for it, where the tree was taken over.
    """

    id: int
    parent: int
    parents: tuple[int, ...]
    depth: int
    op: str
    expert: str
    score: float | None
    cost: NanoUSD
    input_tokens: int | None
    output_tokens: int | None
    text: str | None
    answer: str | None
    propensity: float | None = None
    widen: float | None = None
    inherited_from: SolveId | None = None


async def read_log(tree_log: TreeLog, solve_id: SolveId, *, after: int = 0) -> list[Event]:
    """The log beyond number `after` as the tree store has it; empty when it has none."""
    return [decode(record) for record in await tree_log.read(solve_id, after=after)]


def inherited_log(record: SolveRecord) -> list[Event]:
    """The log that the solve's search goes on from; empty where it began anew, or was erased."""
    if record.inherited is None:
        return []
    return [decode(event) for event in record.inherited["log"]]


def rebuild(settings: Settings, calls: Sequence[CallRecord], base: Sequence[Event] = ()) -> Engine:
    """The engine, from the journal alone, and from the log that it went on from.

    The journal numbers every event but for asks whose call was never made (the budget refused it);
    the engine repeats those by itself, since it draws from nothing but seed and number.
    """
    search = engine_from(settings, base)
    # A trial that was taken over is asked for in the log and called for in this journal.
    events = [event for event in _events(calls) if event.seq > len(base)]
    for event in sorted(events, key=lambda event: event.seq):
        while len(search.log) + 1 < event.seq and ask_again(search):
            pass
        search.apply(_placed(search, event))
    return search


async def reopen(
    tree_log: TreeLog, record: SolveRecord, calls: Sequence[CallRecord]
) -> Engine | None:
    """The engine of a solve as far as it has come; None where it has not begun.

    The tree's log comes first, being ahead of the journal by what was told since the last call.
    Unless it is behind, for its store may forget, or tells what the journal does not know of.
    """
    if record.request is None or record.plan is None:
        return None
    base = inherited_log(record)
    request, plan = request_from(record.request), plan_from(record.plan)
    log = await read_log(tree_log, record.id)
    settings = settings_of(request, plan, calls, log, route=_route(record), inherited=len(base))
    # One that is no longer was cut off as what was taken over was written to it.
    if (
        len(log) > len(base)
        and log[: len(base)] == list(base)
        and _is_journalled(log[len(base) :], calls)
    ):
        return engine_from(settings, log)
    if base or any(call.told_seq or call.asked_seq for call in calls):
        return rebuild(settings, calls, base)
    return None


def node_calls(
    search: Engine, calls: Sequence[CallRecord], inherited: Sequence[CallRecord] = ()
) -> list[CallRecord]:
    """The call behind each node: for the first ones the `inherited`, then the solve's own."""
    by_ask = {call.ask: call for call in calls if call.state is CallState.OK and call.ask}
    given = [call for call in calls if call.state is CallState.OK and call.ask is None]
    # What was adopted is journalled with the next call; until then it is all that was given.
    sources = iter([call for call in given if call.told_seq] or given)
    own = nodes_of(search)[len(inherited) :]
    return [
        *inherited,
        *(next(sources) if node.trial_id is None else by_ask[node.trial_id] for node in own),
    ]


def nodes(
    search: Engine,
    request: SolveRequest,
    calls: Sequence[CallRecord],
    texts: Mapping[str, str],
    *,
    of: SolveId,
) -> list[TreeNode]:
    """The nodes of a solve's tree, in order of telling; `calls` are those behind them."""
    choices = {event.trial.id: event for event in search.log if isinstance(event, Asked)}
    made: list[TreeNode] = []
    for node, call in zip(nodes_of(search), calls, strict=True):
        choice = None if node.trial_id is None else choices[node.trial_id]
        text = texts.get(text_name(call.op))
        made.append(
            TreeNode(
                id=node.id,
                parent=node.parent,
                parents=_parents(node),
                depth=node.depth,
                op=call.op,
                expert=node.expert,
                score=node.score,
                cost=NanoUSD(node.cost),
                input_tokens=call.input_tokens,
                output_tokens=call.output_tokens,
                text=text,
                answer=None if text is None else extract(text, request.extract),
                propensity=None if choice is None else choice.probability,
                widen=None if choice is None else choice.widen,
                inherited_from=None if call.solve_id == of else call.solve_id,
            )
        )
    return made


def _route(record: SolveRecord) -> Route | None:
    """The route that an ended solve took, if it came to take one."""
    decision = None if record.result is None else record.result.get("decision")
    return None if decision is None else Route(decision["route"])


def _parents(node: AnyNode) -> tuple[int, ...]:
    if isinstance(node, Contribution) and node.reads:
        return node.reads
    return () if node.parent == ROOT else (node.parent,)


def _is_journalled(log: Sequence[Event], calls: Sequence[CallRecord]) -> bool:
    """Whether the log has all that the journal has, and no answer that the journal has not.

    Its last owner may have written on after the solve was another's: answers that are nobody's.
    """
    named = {_name(event): event.seq for event in log}
    answered = {call.ask for call in calls if call.state is CallState.OK}
    return all(named.get(_name(event)) == event.seq for event in _events(calls)) and all(
        event.trial_id in answered
        for event in log
        if isinstance(event, Told | Heard) and event.trial_id is not None
    )


def _name(event: Event) -> tuple[str, int]:
    """What an event is about: of one kind there is one a trial."""
    match event:
        case Asked(trial=trial):
            return "asked", trial.id
        case Told(trial_id=trial_id) | Abandoned(trial_id=trial_id) | Heard(trial_id=int(trial_id)):
            return "told", trial_id
        case Adopted(seq=seq) | ExpertsSet(seq=seq) | Heard(seq=seq):
            return "given", seq


def _events(calls: Sequence[CallRecord]) -> list[Event]:
    events: list[Event] = []
    asked: set[int] = set()
    for call in calls:
        if call.asked_seq is not None and call.ask is not None and call.ask not in asked:
            asked.add(call.ask)
            trial = Trial(call.ask, call.parent or ROOT, call.expert, depth=0)
            events.append(Asked(call.asked_seq, trial, call.propensity, call.widen))
        if call.told_seq is None:
            continue
        cost = sum(other.cost for other in calls if other.op == call.op)
        events.append(_told(call, call.told_seq, cost))
    return events


def _placed(search: Engine, event: Event) -> Event:
    # The journal knows a trial's parent; how deep that lies is the tree's to say, and what else it
    # reads the deliberation's.
    if not isinstance(event, Asked):
        return event
    if isinstance(search, Deliberation):
        due, asked = search.due(), event.trial
        if due is None or (due.id, due.expert) != (asked.id, asked.expert):
            return event  # and so refused
        return replace(event, trial=due)
    parent = event.trial.parent
    depth = 1 if parent == ROOT else search.nodes[parent - 1].depth + 1
    return replace(event, trial=replace(event.trial, depth=depth))


def _told(call: CallRecord, seq: int, cost: int) -> Event:
    if call.abandoned is not None:
        assert call.ask is not None, "only a trial can be abandoned"
        return Abandoned(seq, call.ask, cost, call.abandoned)
    if call.score is None:
        return Heard(seq, call.expert, cost, call.ask)
    if call.ask is None:
        return Adopted(seq, call.expert, call.score, cost)
    return Told(seq, call.ask, call.score, cost)
