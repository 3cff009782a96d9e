from collections.abc import Sequence

import pytest

from app.search.peers import expected_improvement
from app.search.search import Search
from app.search.settings import Algorithm, SearchSettings
from app.search.tally import Tally
from app.search.trial import Stop, StopReason, Trial, Wait
from tests.search.driving import asked

A, B = "m0", "m1"


def search_of(algorithm: Algorithm, **changes: int) -> Search:
    """A search that only the algorithm ends."""
    return Search(
        SearchSettings(
            experts=(A, B),
            seed=1,
            algorithm=algorithm,
            max_nodes=500,
            target_score=None,
            patience=None,
            max_depth=changes.get("max_depth", 8),
            children_per_node=changes.get("children_per_node", 2),
            beam_width=changes.get("beam_width", 2),
            value=changes.get("value"),
        )
    )


def parents(search: Search, scores: Sequence[float]) -> list[int]:
    """What is expanded, one at a time, if these are the scores."""
    chosen: list[int] = []
    for score in scores:
        trial = asked(search)
        chosen.append(trial.parent)
        search.tell(trial.id, score, cost=10)
    return chosen


@pytest.mark.parametrize(
    ("algorithm", "scores", "expected"),
    [
        pytest.param(Algorithm.BEST_OF_N, [0.1, 0.9, 0.2], [0, 0, 0], id="only fresh answers"),
        pytest.param(Algorithm.REFINE, [0.3, 0.1, 0.3, 0.4], [0, 1, 1, 3], id="the latest best"),
        # Two fresh ones; the better is refined twice, then its better child.
        pytest.param(
            Algorithm.BEST_FIRST,
            [0.2, 0.5, 0.4, 0.6, 0.1],
            [0, 0, 2, 2, 4],
            id="best with room",
        ),
        # Two fresh, two for each of the best two; then the best two of those.
        pytest.param(
            Algorithm.TOT_BFS,
            [0.2, 0.5, 0.3, 0.4, 0.1, 0.6, 0.0],
            [0, 0, 2, 2, 1, 1, 6],
            id="level by level",
        ),
        # Of two children each: into the better, then into the one that was less visited.
        pytest.param(
            Algorithm.MCTS, [0.5, 0.6, 0.0, 0.0, 0.0], [0, 0, 2, 1, 2], id="by the upper bound"
        ),
    ],
)
def test_peer_expands(algorithm: Algorithm, scores: list[float], expected: list[int]) -> None:
    """One trial at a time."""
    assert parents(search_of(algorithm), scores) == expected


@pytest.mark.parametrize(
    "algorithm",
    [
        Algorithm.BEST_OF_N,
        Algorithm.REFINE,
        Algorithm.BEST_FIRST,
        Algorithm.TOT_BFS,
        Algorithm.MCTS,
    ],
)
def test_experts_take_turns(algorithm: Algorithm) -> None:
    """Whatever they score; and a choice without a draw is certain."""
    search = search_of(algorithm, max_depth=50)
    experts: list[str] = []
    for _ in range(8):
        trial = asked(search)
        experts.append(trial.expert)
        search.tell(trial.id, 0.5, cost=1)
    assert experts == [A, B] * 4


def test_refinement_is_one_at_a_time() -> None:
    """The next step is asked for once the last one is back."""
    search = search_of(Algorithm.REFINE)
    trial = asked(search)
    assert search.ask() == Wait()
    search.abandon(trial.id, cost=0, reason="unavailable")
    assert asked(search).parent == 0


def test_refinement_goes_on_at_the_greatest_depth() -> None:
    """What is too deep to be refined gives way to the best that is not."""
    assert parents(search_of(Algorithm.REFINE, max_depth=2), [0.1, 0.9, 0.95]) == [0, 1, 1]


@pytest.mark.parametrize("algorithm", [Algorithm.BEST_FIRST, Algorithm.TOT_BFS])
def test_bounded_tree_is_exhausted(algorithm: Algorithm) -> None:
    """Two fresh answers, two refinements of each, no deeper: then there is nothing left to try."""
    search = search_of(algorithm, max_depth=2)
    parents(search, [0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    assert search.ask() == Stop(StopReason.EXHAUSTED)


def test_level_waits_for_its_last_answer() -> None:
    """The next level is of the best of all; a failed call is made again."""
    search = search_of(Algorithm.TOT_BFS)
    first, second = asked(search), asked(search)
    assert search.ask() == Wait()
    search.tell(first.id, 0.5, cost=1)
    assert search.ask() == Wait()
    search.abandon(second.id, cost=1, reason="unavailable")
    assert asked(search).parent == 0


def test_failed_refinement_gives_its_room_back() -> None:
    """Best-first has room for two children of a node, not for two tries."""
    search = search_of(Algorithm.BEST_FIRST, max_depth=1)
    first, second = asked(search), asked(search)
    assert search.ask() == Wait()
    search.abandon(first.id, cost=1, reason="unavailable")
    assert asked(search).parent == 0
    assert search.ask() == Wait()
    search.tell(second.id, 0.5, cost=1)


@pytest.mark.parametrize(
    ("value", "stops"), [(10, True), (10**10, False)], ids=["cheap answer", "dear answer"]
)
def test_sampling_stops_when_one_more_is_not_worth_its_price(*, value: int, stops: bool) -> None:
    """Forty scores around 0.5 and one of 0.95: an improvement is small and unlikely."""
    search = search_of(Algorithm.BEST_OF_N, value=value)
    for number in range(41):
        step = search.ask()
        if not isinstance(step, Trial):
            break
        search.tell(step.id, 0.95 if number == 1 else 0.45 + 0.1 * (number % 2), cost=10)
    assert (search.ask() == Stop(StopReason.VALUE)) is stops


@pytest.mark.parametrize(("best", "expected"), [(0.0, 0.5), (0.5, 0.04), (1.0, 0.0)])
def test_expected_improvement(best: float, expected: float) -> None:
    """All of the mean above 0; sigma / sqrt(2 pi) at the mean; next to nothing far above it."""
    scores = Tally()
    for number in range(1_000):
        scores.add(0.4 + 0.2 * (number % 2))
    assert expected_improvement(scores, best) == pytest.approx(expected, abs=1e-3)
