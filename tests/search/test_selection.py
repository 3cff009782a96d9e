"""Which answer is returned: the best score where scores can be trusted, the likeliest else."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.selection import Scored, select

CANDIDATES = st.lists(
    st.builds(Scored, st.sampled_from(["a", "b", "c", None]), st.sampled_from([0.0, 0.4, 1.0])),
    min_size=1,
    max_size=12,
)

CASES = [
    pytest.param([("a", 0.2), ("b", 0.9), ("c", 0.5)], 1, id="the best score"),
    pytest.param([("a", 0.9), ("b", 0.9), ("b", 0.9)], 1, id="of equal scores the most frequent"),
    pytest.param([("a", 0.9), ("b", 0.9)], 0, id="then the first"),
    pytest.param([(None, 0.9), (None, 0.9), ("b", 0.9), ("b", 0.9)], 2, id="unread is no answer"),
    pytest.param([("a", 0.1), ("a", 0.1), ("b", 0.2)], 2, id="a majority outranks no score"),
]


@pytest.mark.parametrize(("given_answers", "chosen"), CASES)
def test_trusted_scores_decide(given_answers: list[tuple[str | None, float]], chosen: int) -> None:
    """Agreement breaks ties, and nothing else."""
    assert select([Scored(*one) for one in given_answers], noisy=False) == chosen


@given(CANDIDATES)
def test_a_trusted_best_score_is_never_passed_over(candidates: list[Scored]) -> None:
    """Whatever else was answered."""
    best = candidates[select(candidates, noisy=False)]
    assert best.score == max(one.score for one in candidates)


@given(CANDIDATES)
def test_a_noisy_choice_is_of_an_answer_at_its_best(candidates: list[Scored]) -> None:
    """It may pass over the best score, but not over a better copy of what it chose."""
    chosen = candidates[select(candidates, noisy=True)]
    copies = [one.score for one in candidates if one.answer == chosen.answer is not None]
    assert chosen.score == max(copies, default=chosen.score)


def test_one_lucky_score_does_not_beat_four_good_ones() -> None:
    """Where the same answer has had scores far apart, one high score says little."""
    scores = [("a", 0.9), ("a", 0.5), ("a", 0.8), ("a", 0.6), ("b", 0.75), ("b", 0.1), ("c", 0.92)]
    candidates = [Scored(*one) for one in scores]
    assert select(candidates, noisy=False) == 6
    assert candidates[select(candidates, noisy=True)].answer == "a"


def test_a_noisy_judge_is_seen_through_more_often_than_not() -> None:
    """The right answer comes up again, each wrong one but once or twice; scores are half chance."""
    rng = Random(7)
    right = {False: 0, True: 0}
    for _ in range(200):
        answers = [rng.choice(["right", "right", *range(9)]) for _ in range(12)]
        scores = [
            min(1.0, max(0.0, (answer == "right") * 0.5 + rng.gauss(0.25, 0.35)))
            for answer in answers
        ]
        candidates = [Scored(*one) for one in zip(answers, scores, strict=True)]
        for noisy in right:
            right[noisy] += candidates[select(candidates, noisy=noisy)].answer == "right"
    assert right[True] > right[False] + 10


def test_the_first_of_equals_is_returned_whatever_follows() -> None:
    """So that a search that goes on to no avail changes nothing."""
    candidates = [Scored(f"{n}", 0.5) for n in range(4)]
    chosen = [select(candidates[:n], noisy=False) for n in range(1, 5)]
    assert all(one == other for one, other in pairwise(chosen))
