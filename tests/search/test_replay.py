import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from app.search.codec import decode, encode
from app.search.events import Asked, Event, ExpertsSet, Told, UnreadableLog
from app.search.search import Search, replay
from app.search.settings import Algorithm, SearchSettings
from app.search.trial import Trial
from tests.search.driving import Reply, Step, play, settings, steps, view

# Prints what a search by each algorithm asked for; run in processes of their own.
STORY = """
from app.search.search import Search
from app.search.settings import Algorithm, SearchSettings
from app.search.trial import Trial
for algorithm in Algorithm:
    search = Search(
        SearchSettings(
            experts=("b", "a", "c"), seed=7, algorithm=algorithm, max_nodes=40, patience=None
        )
    )
    for number in range(30):
        trial = search.ask()
        if isinstance(trial, Trial) and number % 3:
            search.tell(trial.id, (number * 37 % 100) / 100, 1)
        elif search.in_flight:
            search.abandon(search.in_flight[0].id, 1, "unavailable")
            search.set_experts(("b", "a", "c"))
    print(algorithm, *search.log, sep="\\n")
"""


def through_json(log: tuple[Event, ...]) -> list[Event]:
    """The log as another process would read it."""
    return [decode(json.loads(json.dumps(encode(event)))) for event in log]


@profile(max_examples=60)
@given(settings=settings, steps=st.lists(steps, max_size=24))
def test_resumed_search_continues_as_if_never_stopped(
    settings: SearchSettings, steps: list[Step]
) -> None:
    """After any step, trials in flight or not: the same state, the same replies from there on."""
    live = Search(settings)
    views = [view(live)]
    replies: list[Reply] = []
    for step in steps:
        replies.append(play(live, step))
        views.append(view(live))
    for stopped, seen in enumerate(views):
        resumed = replay(settings, through_json(seen.log))
        assert view(resumed) == seen
        assert [play(resumed, step) for step in steps[stopped:]] == replies[stopped:]
        assert view(resumed) == views[-1]


@given(settings=settings, steps=st.lists(steps, max_size=24))
def test_resumed_search_asks_the_same_next(settings: SearchSettings, steps: list[Step]) -> None:
    """Many asks ahead, so that equal beliefs are told from equal luck."""
    live = Search(settings)
    for step in steps:
        play(live, step)
    resumed = replay(settings, live.log)
    assert [resumed.ask() for _ in range(12)] == [live.ask() for _ in range(12)]


def test_search_is_the_same_in_every_process() -> None:
    """Whatever Python hashes strings to."""

    def story(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", STORY],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    first, second = story("1"), story("2")
    assert first == second
    assert first.count("Trial") > 20 * len(Algorithm)


@pytest.mark.parametrize(
    "log",
    [
        pytest.param([Asked(2, Trial(1, 0, "m0", 1))], id="first event missing"),
        pytest.param([Asked(1, Trial(2, 0, "m0", 1))], id="ask missing"),
        pytest.param([Asked(1, Trial(1, 1, "m0", 2))], id="parent missing"),
        pytest.param([Asked(1, Trial(1, 0, "m0", 2))], id="wrong depth"),
        pytest.param([Told(1, 1, 0.5, 0)], id="told but never asked"),
        pytest.param([ExpertsSet(1, ("m0", "m0"))], id="expert named twice"),
    ],
)
def test_log_that_contradicts_itself_is_refused(log: list[Event]) -> None:
    """A hole in the log must not replay into a different search."""
    with pytest.raises(UnreadableLog):
        replay(SearchSettings(experts=("m0",), seed=0), log)


def test_wait_and_stop_do_not_count_as_asks() -> None:
    """However often a full search is asked, its next trial is the same."""
    once = Search(SearchSettings(experts=("m0", "m1", "m2"), seed=3, max_nodes=1))
    often = Search(SearchSettings(experts=("m0", "m1", "m2"), seed=3, max_nodes=1))
    for search, waits in ((once, 1), (often, 5)):
        search.ask()
        for _ in range(waits):
            search.ask()
        search.abandon(1, cost=0, reason="unavailable")
    assert once.ask() == often.ask()
