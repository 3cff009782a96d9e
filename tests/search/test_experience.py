from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.search.experience import Experience, SkillExperience
from app.search.lessons import lessons
from app.search.search import Search
from app.search.settings import Algorithm, SearchSettings
from app.search.trial import Trial
from tests.search.driving import asked

SETTINGS = SearchSettings(
    experts=("starter", "refiner"),
    seed=0,
    algorithm=Algorithm.FATHOM,
    max_nodes=40,
    max_depth=40,
    patience=None,
)


def search_played(settings: SearchSettings) -> Search:
    """One expert starts well, the other refines well; neither does both."""
    search = Search(settings)
    scores = [0.0]
    while isinstance(trial := search.ask(), Trial):
        starts = trial.expert == "starter"
        gain = -0.02 if starts else 0.04
        score = scores[trial.parent] + gain if trial.parent else (0.4 if starts else 0.1)
        scores.append(min(max(score, 0.0), 0.9))
        search.tell(trial.id, scores[-1], cost=1)
    return search


@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3))
def test_lessons_add_up(seeds: list[int]) -> None:
    """Of several searches they are the sum of those of each, and every answer is in them once."""
    searches = [search_played(replace(SETTINGS, seed=seed)).nodes for seed in seeds]
    together, apart = lessons(searches), [lessons([nodes]) for nodes in searches]
    assert together.risen == pytest.approx(sum(each.risen for each in apart))
    fresh = sum(skill.fresh[0] for skill in together.skills)
    assert fresh == sum(node.parent == 0 for nodes in searches for node in nodes)


def test_experienced_search_knows_who_starts_well() -> None:
    """From its first ask, most of the time; without experience either may be asked."""
    learned = lessons([search_played(SETTINGS).nodes]).weighing(8, 8, 2)
    firsts = {
        experience: sum(
            asked(Search(replace(SETTINGS, seed=seed, experience=experience))).expert == "starter"
            for seed in range(40)
        )
        for experience in (None, learned)
    }
    assert firsts[learned] > 34 > firsts[None]


def test_weighing_bounds_counts_and_keeps_means() -> None:
    """Sums shrink with their counts; what weighs less already stays as it is."""
    skill = SkillExperience("a", (100, 50, 30), (10, 4, 1, 0.5))
    light = Experience((skill,), ceilings=10, risen=5).weighing(10, 20, 2)
    assert light.skills[0].fresh == pytest.approx((10, 5, 3))
    assert light.skills[0].steps == skill.steps
    assert (light.ceilings, light.risen) == (2, 1)


@pytest.mark.parametrize(
    ("fresh", "steps"),
    [
        pytest.param((1, 2, 1), (0, 0, 0, 0), id="score above 1"),
        pytest.param((4, 2, 0.5), (0, 0, 0, 0), id="variance below 0"),
        pytest.param((-1, 0, 0), (0, 0, 0, 0), id="fewer than none"),
        pytest.param((0, 0, 0), (1, 2, 0, 0), id="more gains than tries"),
        pytest.param((float("nan"), 0, 0), (0, 0, 0, 0), id="not a number"),
    ],
)
def test_impossible_experience_is_refused(
    fresh: tuple[float, float, float], steps: tuple[float, float, float, float]
) -> None:
    """Counts that no scores could have led to."""
    with pytest.raises(InvalidRequest):
        SkillExperience("a", fresh, steps)
    with pytest.raises(InvalidRequest):
        Experience((), ceilings=-1)
