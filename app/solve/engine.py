"""What decides what is asked next: a search, by scores, or a deliberation, by agreement. Pure.

Both are asked and told, keep a log of the same events, and number their nodes in order of telling;
so what runs, resumes, tells or repeats the one does so with the other. What differs is here.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from app.gate.gate import Route
from app.ledger.records import CallRecord
from app.search.events import Event, Heard
from app.search.search import Search, replay
from app.search.settings import SearchSettings
from app.search.tree import Node
from app.search.trial import Trial
from app.solve.deliberation import (
    DRAFT,
    PASS,
    Contribution,
    Deliberation,
    Rounds,
    deliberated,
)
from app.solve.plan import Plan, expected_cost
from app.solve.request import Mode, SolveRequest

Engine: TypeAlias = Search | Deliberation
AnyNode: TypeAlias = Node | Contribution
Settings: TypeAlias = SearchSettings | Rounds


def settings_of(
    request: SolveRequest,
    plan: Plan,
    calls: Sequence[CallRecord] = (),
    log: Sequence[Event] = (),
    *,
    route: Route | None = None,
    inherited: int = 0,
) -> Settings:
    """The settings of a request's engine. Which it is, its mode says, or the `route` that it took.

    Or the `calls` of its journal, or its `log`, where the gate decided and the run has not ended.
    `inherited` is the length of the log that a search goes on from.
    """
    if (
        request.mode is Mode.PARALLEL
        or route is Route.PARALLEL
        or any(call.op.startswith((DRAFT, PASS)) for call in calls)
        or any(isinstance(event, Heard) for event in log)
    ):
        return rounds_of(request, plan)
    return search_settings(request, plan, inherited=inherited)


def engine_for(route: Route, request: SolveRequest, plan: Plan, *, opened: Engine | None) -> Engine:
    """The engine of a route: the one that was `opened` from a log, unless that is the other's."""
    if route is Route.PARALLEL:
        if isinstance(opened, Deliberation):
            return opened
        return Deliberation(rounds_of(request, plan))
    if isinstance(opened, Search):
        return opened
    return Search(search_settings(request, plan))


def search_settings(request: SolveRequest, plan: Plan, *, inherited: int = 0) -> SearchSettings:
    """A search's settings for a request and the experts that its plan seated.

    `inherited` is the length of the log that the search goes on from.
    """
    options = request.search
    return SearchSettings(
        experts=tuple(seat.expert.name for seat in plan.searchers),
        seed=request.seed,
        algorithm=options.algorithm,
        max_nodes=options.max_nodes,
        max_depth=options.max_depth,
        target_score=options.target_score,
        patience=options.patience,
        value=options.score_value or None,  # worth nothing is not weighed
        pass_value=plan.pass_value or None,
        expected_costs=tuple(
            (seat.expert.name, expected_cost(request, seat)) for seat in plan.searchers
        ),
        # What an inherited log has spent was another solve's.
        budget=None if inherited else plan.search_budget or None,
        score_step=plan.score_step,
        score_noise=plan.score_noise,
        inherited=inherited,
    )


def rounds_of(request: SolveRequest, plan: Plan) -> Rounds:
    """A deliberation's settings. Answers that a verifier refuses may agree as much as they like."""
    options, panel = request.parallel, request.panel
    verified = panel is not None and panel.is_decisive
    return Rounds(
        experts=tuple(seat.expert.name for seat in plan.searchers),
        k=options.k,
        passes=options.passes,
        confidence=options.confidence if options.adaptive and not verified else None,
        target_score=request.search.target_score if options.adaptive and verified else None,
    )


def engine_from(settings: Settings, log: Iterable[Event] = ()) -> Engine:
    """The engine that wrote `log` under `settings`; raises UnreadableLog as its `apply` does."""
    match settings:
        case SearchSettings():
            return replay(settings, log)
        case Rounds():
            return deliberated(settings, log)


def nodes_of(engine: Engine) -> Sequence[AnyNode]:
    """All nodes, in order of telling."""
    return engine.nodes


def op_of(engine: Engine, trial_id: int) -> str:
    """The op of a trial's call."""
    return f"t{trial_id}" if isinstance(engine, Search) else engine.op(trial_id)


def takes_unscored(engine: Engine) -> bool:
    """Whether an answer without a score becomes a node: a search has nothing to climb by then."""
    return isinstance(engine, Deliberation)


def tell(
    engine: Engine, trial_id: int, score: float | None, cost: int, *, said: str | None
) -> int | None:
    """Tell of an answer, which came to `said`: its node, or None where it was of no use."""
    match engine:
        case Search():
            return None if score is None else engine.tell(trial_id, score, cost)
        case Deliberation():
            return hear(engine, engine.tell(trial_id, score, cost), said)


def adopt(
    engine: Engine, expert: str, score: float | None, cost: int, *, said: str | None
) -> int | None:
    """Take in an answer that no trial asked for: its node, or None where it was of no use."""
    match engine:
        case Search():
            return None if score is None else engine.adopt(expert, score, cost)
        case Deliberation():
            return hear(engine, engine.adopt(expert, score, cost), said)


def hear(engine: Engine, node: int, said: str | None) -> int:
    """Say what a node's answer came to, to whom that matters; the node."""
    if isinstance(engine, Deliberation):
        engine.hear(node, said)
    return node


def ask_again(engine: Engine) -> bool:
    """Repeat an ask that is known to have happened; False where there is none to repeat."""
    match engine:
        case Search():
            return isinstance(engine.ask(), Trial)
        case Deliberation():
            return engine.press_on() is not None
