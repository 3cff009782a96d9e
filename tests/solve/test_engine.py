"""Which engine a solve has, whoever chose its route, and what both are to whoever runs them."""

from dataclasses import replace

import pytest

from app.evaluators.specs import PanelSpec
from app.gate.gate import Route
from app.search.events import Adopted, Event, Heard
from app.search.search import Search
from app.search.trial import Trial
from app.solve import plan as planner
from app.solve.deliberation import Deliberation, Rounds
from app.solve.engine import (
    Engine,
    adopt,
    ask_again,
    engine_for,
    engine_from,
    nodes_of,
    op_of,
    rounds_of,
    settings_of,
    tell,
)
from app.solve.request import Mode, ParallelOptions, SearchOptions, SolveRequest, Turn
from tests.simulation.clients import PANEL
from tests.simulation.yard import EXPERTS, POLICY

FORM = PanelSpec.model_validate(
    {"evaluators": [{"type": "json_schema", "config": {"schema": {"type": "integer"}}}]}
)
AUTO = SolveRequest(turns=(Turn("user", "?"),), seed=1, panel=PANEL)
PARALLEL = replace(AUTO, mode=Mode.PARALLEL, panel=None)
PLAN = planner.make(AUTO, POLICY, EXPERTS)


def _engine(route: Route) -> Engine:
    return engine_for(route, AUTO, PLAN, opened=None)


def test_route_decides_the_engine() -> None:
    """One that was opened from a log goes on, unless it is the other route's."""
    search, deliberation = _engine(Route.SEARCH), _engine(Route.PARALLEL)
    assert isinstance(search, Search)
    assert isinstance(deliberation, Deliberation)
    for route, own, other in (
        (Route.SEARCH, search, deliberation),
        (Route.PARALLEL, deliberation, search),
    ):
        assert engine_for(route, AUTO, PLAN, opened=own) is own
        made = engine_for(route, AUTO, PLAN, opened=other)
        assert (type(made), made.log) == (type(own), [])


@pytest.mark.parametrize(
    ("request_", "log", "route", "expected"),
    [
        (AUTO, [], None, Search),
        (AUTO, [Adopted(1, "cheap", 0.5, 1)], None, Search),
        (AUTO, [Heard(1, "cheap", 1, None)], None, Deliberation),
        (AUTO, [], Route.SEARCH, Search),
        (AUTO, [], Route.PARALLEL, Deliberation),
        (PARALLEL, [], None, Deliberation),
    ],
)
def test_engine_is_known_from_what_is_on_record(
    request_: SolveRequest, log: list[Event], route: Route | None, expected: type[Engine]
) -> None:
    """So that a solve whose route the gate chose reopens as what it was."""
    settings = settings_of(request_, PLAN, (), log, route=route)
    assert type(engine_from(settings, log)) is expected


@pytest.mark.parametrize(
    ("request_", "confidence", "target"),
    [
        (PARALLEL, 0.9, None),
        (replace(PARALLEL, panel=FORM), 0.9, None),
        (replace(PARALLEL, panel=PANEL), None, 0.75),
        (replace(PARALLEL, parallel=ParallelOptions(adaptive=False)), None, None),
        (replace(PARALLEL, panel=PANEL, parallel=ParallelOptions(adaptive=False)), None, None),
    ],
)
def test_verifier_takes_the_place_of_agreement(
    request_: SolveRequest, confidence: float | None, target: float | None
) -> None:
    """A check of form does not; and nothing ends one that is not adaptive."""
    options = replace(request_.parallel, k=3, passes=1, confidence=0.9)
    asked = replace(request_, parallel=options, search=SearchOptions(target_score=0.75))
    assert rounds_of(asked, PLAN) == Rounds(
        ("cheap", "strong"), k=3, passes=1, confidence=confidence, target_score=target
    )


@pytest.mark.parametrize("route", [Route.SEARCH, Route.PARALLEL])
def test_scored_answers_are_nodes_of_either_engine(route: Route) -> None:
    """Those that no trial asked for first."""
    engine = _engine(route)
    assert adopt(engine, "second", 0.25, 7, said="391") == 1
    assert isinstance(trial := engine.ask(), Trial)
    assert op_of(engine, trial.id) == {Route.SEARCH: "t1", Route.PARALLEL: "draft.1"}[route]
    assert tell(engine, trial.id, 0.5, 7, said="392") == 2
    assert [(node.expert, node.score) for node in nodes_of(engine)] == [
        ("second", 0.25),
        (trial.expert, 0.5),
    ]
    assert ask_again(engine)
    assert len(engine.in_flight) == 1


@pytest.mark.parametrize(("route", "node"), [(Route.SEARCH, None), (Route.PARALLEL, 1)])
def test_unscored_answers_are_nodes_of_a_deliberation_alone(route: Route, node: int | None) -> None:
    """A search has nothing to climb by then."""
    engine = _engine(route)
    assert adopt(engine, "second", None, 7, said="391") == node
    assert isinstance(trial := engine.ask(), Trial)
    assert tell(engine, trial.id, None, 7, said="391") == (None if node is None else node + 1)
