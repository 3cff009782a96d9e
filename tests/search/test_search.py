from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import GatewayError, InvalidRequest
from app.search.events import Asked
from app.search.roster import FAILURES_MAX
from app.search.search import ASKS_PER_NODE, Search
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.trial import InvalidScore, Stop, StopReason, Trial, UnknownTrial, Wait, valid_score
from tests.search.driving import EXPERTS, Step, asked, play, settings, steps, view


def search_of(
    *,
    experts: tuple[str, ...] = EXPERTS,
    max_nodes: int = 16,
    target_score: float | None = 1.0,
    patience: int | None = 6,
) -> Search:
    """A search that differs from the default in what a test is about."""
    return Search(
        SearchSettings(
            experts=experts,
            seed=0,
            max_nodes=max_nodes,
            target_score=target_score,
            patience=patience,
        )
    )


def answer(search: Search, *scores: float) -> None:
    """Ask and tell, one score after another."""
    for score in scores:
        search.tell(asked(search).id, score, cost=1)


def fail(search: Search, times: int) -> None:
    """Ask and abandon."""
    for _ in range(times):
        search.abandon(asked(search).id, cost=1, reason="unavailable")


@given(settings, st.lists(steps, max_size=40))
def test_trials_and_nodes_are_numbered_from_one(
    settings: SearchSettings, steps: list[Step]
) -> None:
    """Trials in order of asking, nodes in order of telling, events in order of happening."""
    search = Search(settings)
    replies = [play(search, step) for step in steps]
    trials = [reply.id for reply in replies if isinstance(reply, Trial)]
    assert trials == list(range(1, len(trials) + 1))
    assert [n for n in replies if isinstance(n, int)] == [node.id for node in search.nodes]
    assert [node.id for node in search.nodes] == list(range(1, len(search.nodes) + 1))
    assert [event.seq for event in search.log] == list(range(1, len(search.log) + 1))


@given(settings, st.lists(steps, max_size=40))
def test_bounds_hold_whatever_happens(settings: SearchSettings, steps: list[Step]) -> None:
    """Asking never makes more nodes than allowed, and never goes deeper than allowed."""
    search = Search(settings)
    for step in steps:
        before = len(search.nodes) + len(search.in_flight)
        if isinstance(play(search, step), Trial):
            assert before < settings.max_nodes
    assert all(node.depth <= settings.max_depth for node in search.nodes)


@given(settings, st.lists(steps, max_size=40))
def test_best_is_the_first_node_to_reach_the_best_score(
    settings: SearchSettings, steps: list[Step]
) -> None:
    """An equal score later on changes nothing."""
    search = Search(settings)
    for step in steps:
        play(search, step)
    scores = [node.score for node in search.nodes]
    assert search.best == (scores.index(max(scores)) + 1 if scores else None)


def test_node_remembers_its_trial() -> None:
    """Where it hangs, who made it, what it cost."""
    search = search_of()
    trial = asked(search)
    node_id = search.tell(trial.id, 0.5, cost=70)
    node = search.nodes[node_id - 1]
    assert (node.parent, node.depth, node.expert) == (trial.parent, trial.depth, trial.expert)
    assert (node.score, node.cost, node.trial_id) == (0.5, 70, trial.id)


def test_adopted_answer_is_a_child_of_the_root() -> None:
    """It counts as told, of an expert that the search itself need not know."""
    search = search_of()
    node = search.nodes[search.adopt("gate", 0.5, cost=3) - 1]
    assert (node.parent, node.depth, node.expert, node.trial_id) == (0, 1, "gate", None)
    assert search.best == node.id
    assert asked(search).id == 1


@pytest.mark.parametrize(
    "score",
    [
        float("nan"), float("inf"), -float("inf"), -1e-9, 1.0000001, 2, 10**400,
        True, False, np.bool_(1), None, "0.5", Decimal("0.5"), 0.5j,
    ],
)  # fmt: skip
def test_invalid_score_is_refused(score: object) -> None:
    """Nothing but a real number in [0, 1] is a score."""
    with pytest.raises(InvalidScore):
        valid_score(score)


@pytest.mark.parametrize("score", [0, 1, 0.25, Fraction(1, 4), np.float32(0.25), np.int64(1)])
def test_any_real_number_in_range_is_a_score(score: object) -> None:
    """It is kept as a plain float, so that the log can be written down."""
    assert type(valid_score(score)) is float


def test_invalid_score_leaves_the_trial_open() -> None:
    """The answer is paid for: its caller may clip the score and tell again."""
    search = search_of()
    trial = asked(search)
    before = view(search)
    with pytest.raises(InvalidScore):
        search.tell(trial.id, 1.0000001, cost=1)
    assert view(search) == before
    assert search.tell(trial.id, 1.0, cost=1) == 1


def test_adopting_an_invalid_score_changes_nothing() -> None:
    """As with tell."""
    search = search_of()
    with pytest.raises(InvalidScore):
        search.adopt("m0", float("nan"), cost=1)
    assert not search.nodes


def tell_again(search: Search, trial_id: int) -> None:
    """Tell, for the tables below."""
    search.tell(trial_id, 0.5, cost=1)


def abandon_again(search: Search, trial_id: int) -> None:
    """Abandon, for the tables below."""
    search.abandon(trial_id, cost=1, reason="unavailable")


@pytest.mark.parametrize("close", [tell_again, abandon_again])
@pytest.mark.parametrize("trial_id", [0, 1, 2, 4])
def test_trial_that_is_not_in_flight_is_refused(
    trial_id: int, close: Callable[[Search, int], None]
) -> None:
    """Never asked, told before, or abandoned before; nothing changes."""
    search = search_of()
    answer(search, 0.5)
    fail(search, 1)
    asked(search)
    before = view(search)
    with pytest.raises(UnknownTrial):
        close(search, trial_id)
    assert view(search) == before


def test_refusals_are_gateway_errors() -> None:
    """They are expected, and have a place in the table of status codes."""
    assert issubclass(UnknownTrial, GatewayError)
    assert issubclass(InvalidScore, GatewayError)


@pytest.mark.parametrize(
    ("search", "told", "reply"),
    [
        pytest.param(search_of(), [0.2, 1.0], Stop(StopReason.TARGET_SCORE), id="target"),
        pytest.param(search_of(target_score=0.5), [0.5], Stop(StopReason.TARGET_SCORE), id="lower"),
        pytest.param(
            search_of(patience=2), [0.5, 0.5, 0.4], Stop(StopReason.PATIENCE), id="patience"
        ),
        pytest.param(search_of(max_nodes=3), [0.1, 0.2, 0.3], Stop(StopReason.MAX_NODES), id="max"),
    ],
)
def test_search_stops(search: Search, told: list[float], reply: Stop) -> None:
    """For the reason that came true, and for as long as it is asked."""
    answer(search, *told)
    assert [search.ask(), search.ask()] == [reply, reply]


@pytest.mark.parametrize(
    ("search", "told"),
    [
        pytest.param(search_of(target_score=None), [1.0], id="no target"),
        pytest.param(search_of(patience=None), [0.5] + [0.1] * 14, id="no patience"),
        pytest.param(search_of(patience=2), [0.1, 0.1, 0.2, 0.2, 0.3], id="better in time"),
        pytest.param(search_of(max_nodes=3), [0.1, 0.2], id="room for one"),
    ],
)
def test_search_goes_on(search: Search, told: list[float]) -> None:
    """Short of a reason, or with the rule switched off."""
    answer(search, *told)
    assert isinstance(search.ask(), Trial)


def test_full_search_waits_for_trials_in_flight() -> None:
    """They count as nodes; one that fails makes room, the last told ends the search."""
    search = search_of(max_nodes=2)
    first, second = asked(search), asked(search)
    assert search.ask() == Wait()
    search.abandon(first.id, cost=0, reason="unavailable")
    third = asked(search)
    search.tell(second.id, 0.1, cost=1)
    assert search.ask() == Wait()
    search.tell(third.id, 0.1, cost=1)
    assert search.ask() == Stop(StopReason.MAX_NODES)


def test_better_answer_in_flight_renews_patience() -> None:
    """Patience is not at its end while a trial may still make a better best."""
    search = search_of(patience=1)
    answer(search, 0.5)
    late = asked(search)
    answer(search, 0.1)
    assert search.ask() == Wait()
    search.tell(late.id, 0.7, cost=1)
    assert isinstance(search.ask(), Trial)


def test_target_score_stops_at_once_and_late_answers_are_kept() -> None:
    """What is in flight is paid for, so it may still be told."""
    search = search_of()
    late, winner = asked(search), asked(search)
    search.tell(winner.id, 1.0, cost=1)
    assert search.ask() == Stop(StopReason.TARGET_SCORE)
    assert search.tell(late.id, 0.3, cost=1) == 2
    assert search.ask() == Stop(StopReason.TARGET_SCORE)
    assert search.best == 1


def test_expert_that_keeps_failing_is_no_longer_asked() -> None:
    """Its use ends at the third failure in a row; the others go on."""
    search = search_of(experts=("m0", "m1"), max_nodes=100, patience=None)
    while "m0" in search.experts:
        trial = asked(search)
        if trial.expert == "m0":
            search.abandon(trial.id, cost=0, reason="unavailable")
        else:
            search.tell(trial.id, 0.5, cost=1)
    assert {asked(search).expert for _ in range(30)} == {"m1"}


def test_answer_in_between_forgives_failures() -> None:
    """Only failures in a row count."""
    search = search_of(experts=("m0",))
    for _ in range(3):
        fail(search, FAILURES_MAX - 1)
        answer(search, 0.5)
    assert search.experts == ("m0",)


def test_late_answer_does_not_bring_an_expert_back() -> None:
    """Its use has ended; the answer is a node all the same."""
    search = search_of(experts=("m0",))
    late = asked(search)
    fail(search, FAILURES_MAX)
    assert search.ask() == Wait()
    search.tell(late.id, 0.5, cost=1)
    assert search.ask() == Stop(StopReason.EXPERTS_FAILED)


def test_search_without_experts_stops_until_some_come_back() -> None:
    """Experts come and go: named again after having been taken off, one starts afresh."""
    search = search_of(experts=("m0",))
    fail(search, FAILURES_MAX)
    assert search.ask() == Stop(StopReason.EXPERTS_FAILED)
    search.set_experts(("m0", "m1"))
    assert search.experts == ("m1",)
    search.set_experts(())
    assert search.ask() == Stop(StopReason.EXPERTS_FAILED)
    search.set_experts(("m0",))
    assert asked(search).expert == "m0"


def test_failing_calls_end_the_search_in_bounded_asks() -> None:
    """Even when failures never come three in a row, or experts are named again and again."""
    search = search_of(experts=("m0",), max_nodes=4)
    asks = 0
    while isinstance(trial := search.ask(), Trial):
        asks += 1
        search.abandon(trial.id, cost=0, reason="unavailable")
        search.set_experts(())
        search.set_experts(("m0",))
    assert trial == Stop(StopReason.EXPERTS_FAILED)
    assert asks == ASKS_PER_NODE * 4


@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("experts", lambda: SearchSettings(experts=(), seed=0)),
        ("experts", lambda: SearchSettings(experts=("m0", "m0"), seed=0)),
        ("max_nodes", lambda: SearchSettings(experts=("m0",), seed=0, max_nodes=0)),
        ("max_depth", lambda: SearchSettings(experts=("m0",), seed=0, max_depth=0)),
        ("patience", lambda: SearchSettings(experts=("m0",), seed=0, patience=0)),
        ("target_score", lambda: SearchSettings(experts=("m0",), seed=0, target_score=1.1)),
        ("value", lambda: SearchSettings(experts=("m0",), seed=0, value=0)),
        ("score_step", lambda: SearchSettings(experts=("m0",), seed=0, score_step=0.0)),
        (
            "expected_costs",
            lambda: SearchSettings(experts=("m0",), seed=0, expected_costs=(("m0", -1),)),
        ),
        (
            "expected_costs",
            lambda: SearchSettings(experts=("m0",), seed=0, expected_costs=(("m0", 1), ("m0", 2))),
        ),
    ],
)
def test_settings_that_cannot_be_run_are_refused(
    field: str, build: Callable[[], SearchSettings]
) -> None:
    """The refusal names the field to change."""
    with pytest.raises(InvalidRequest) as refusal:
        build()
    assert refusal.value.field == field


def test_naming_an_expert_twice_is_refused() -> None:
    """It would be drawn for twice as often; the experts stay as they were."""
    search = search_of()
    with pytest.raises(InvalidRequest):
        search.set_experts(("m0", "m0"))
    assert search.experts == EXPERTS


@given(settings, st.lists(steps, max_size=30))
def test_every_choice_had_a_chance(settings: SearchSettings, steps: list[Step]) -> None:
    """What was chosen cannot have been impossible, whichever the algorithm."""
    search = Search(settings)
    for step in steps:
        play(search, step)
    for event in search.log:
        if isinstance(event, Asked):
            assert event.probability is not None
            assert 0.0 < event.probability <= 1.0
            assert event.widen is None or 0.0 <= event.widen <= 1.0


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("expert_choice", ExpertChoice)
@pytest.mark.parametrize(
    "algorithm", [Algorithm.AB_MCTS_A, Algorithm.AB_MCTS_A_BETA, Algorithm.AB_MCTS_M]
)
def test_recorded_probability_is_how_often_it_is_chosen(
    *, algorithm: Algorithm, expert_choice: ExpertChoice, joint: bool
) -> None:
    """Weighted by 1 / probability, every frequent choice counts as one an ask.

    Short of one where in some asks it got no vote at all.
    """
    asks = 1_500
    search = Search(
        SearchSettings(
            experts=("m0", "m1"),
            seed=11,
            algorithm=algorithm,
            expert_choice=expert_choice,
            max_nodes=2 * asks,
            target_score=None,
            patience=None,
            joint_draws=joint,
        )
    )
    for expert, score in (("m0", 0.5), ("m1", 0.4), ("m0", 0.6)):
        search.adopt(expert, score, cost=1)
    counts: Counter[tuple[int, str]] = Counter()
    weights: defaultdict[tuple[int, str], float] = defaultdict(float)
    for _ in range(asks):
        trial = asked(search)
        event = search.log[-1]
        assert isinstance(event, Asked)
        assert event.probability is not None
        counts[trial.parent, trial.expert] += 1
        weights[trial.parent, trial.expert] += 1 / event.probability
    frequent = [choice for choice, count in counts.items() if count > asks / 10]
    assert frequent
    for choice in frequent:
        assert weights[choice] / asks == pytest.approx(1.0, abs=0.2)
