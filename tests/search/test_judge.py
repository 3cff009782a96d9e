import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.judge import Judge
from app.search.tree import ROOT, Node


def judged(noise: float, *answers: tuple[int, float]) -> Judge:
    """A judge that was told these (parent, score)."""
    judge = Judge(noise)
    for number, (parent, score) in enumerate(answers, 1):
        judge.told(Node(number, parent, 1, "m0", score, cost=1, trial_id=number))
    return judge


def fresh(*scores: float) -> list[tuple[int, float]]:
    """Fresh answers of these scores."""
    return [(ROOT, score) for score in scores]


scores = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(scores=scores, data=st.data())
def test_a_judge_that_does_not_err_is_believed(scores: list[float], data: st.DataObject) -> None:
    """To the bit, whatever was refined from what."""
    answers = [(data.draw(st.integers(0, place)), score) for place, score in enumerate(scores)]
    judge = judged(0.0, *answers)
    assert judge.worth == [0.0, *scores]
    assert judge.best == max(scores)


@given(scores=scores, noise=st.floats(1e-3, 1.0), data=st.data())
def test_worth_is_a_score(scores: list[float], noise: float, data: st.DataObject) -> None:
    """Within [0, 1], and the best is one of them."""
    answers = [(data.draw(st.integers(0, place)), score) for place, score in enumerate(scores)]
    judge = judged(noise, *answers)
    assert all(0.0 <= worth <= 1.0 for worth in judge.worth)
    assert judge.best == max(judge.worth)


def test_best_of_many_noisy_scores_is_believed_to_be_luck() -> None:
    """All are worth .4: the best score is .2 above that, what is believed of it .05 at most."""
    overstated: list[float] = []
    believed: list[float] = []
    for seed in range(40):
        seen = np.clip(np.random.default_rng(seed).normal(0.4, 0.1, 40), 0, 1)
        judge = judged(0.1, *fresh(*map(float, seen)))
        overstated.append(float(seen.max()) - 0.4)
        believed.append(judge.best - 0.4)
    assert np.mean(overstated) > 0.18
    assert -0.02 < np.mean(believed) < 0.08


def test_where_answers_do_differ_scores_are_believed() -> None:
    """The error being a fifth of their spread, next to nothing is taken off."""
    seen = [0.1, 0.9, 0.3, 0.7, 0.5, 0.2, 0.8, 0.4, 0.6]
    judge = judged(0.05, *fresh(*seen))
    assert judge.worth[1:] == pytest.approx(seen, abs=0.06)


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2])
def test_a_lucky_step_is_believed_in_part(noise: float) -> None:
    """The less, the more the judge errs; and it is better than its parent still."""
    judge = judged(noise, (0, 0.4), (1, 0.45), (2, 0.4), (2, 0.75))
    assert judge.worth[2] < judge.worth[4] < 0.75
    less = judged(noise / 2, (0, 0.4), (1, 0.45), (2, 0.4), (2, 0.75))
    assert judge.worth[4] < less.worth[4]
