"""After an alarm of drift, labels of before it weigh a quarter at its level, and nowhere else."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from app.db.engine import Database
from app.gate.learned import Standing
from app.ids import TenantId
from app.learning.learner import Learner
from app.telemetry.readiness import Drain
from tests.learning.test_refit import DOCUMENT, lessons

THEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
ALARM_S: Final = (THEN + timedelta(days=1)).timestamp()
PAIR, CATEGORY = "cheap>strong", "sums"
LEVELS: Final = (PAIR, f"{PAIR} {CATEGORY}", f"ten_1 {PAIR} {CATEGORY}")


@pytest.fixture
async def learner(sqlite_url: str) -> AsyncGenerator[Learner]:
    """With forty lessons of before the alarm."""
    database = Database(sqlite_url)
    made = Learner(database=database, document=DOCUMENT, drain=Drain())
    for lesson in lessons(40):
        made.learn(replace(lesson, labelled_at=THEN))
    yield made
    await database.aclose()


def standing(learner: Learner) -> Standing:
    """Of the tenant whose lessons they are."""
    found = learner.standing(TenantId("ten_1"), PAIR, CATEGORY, pooled=True)
    assert found is not None
    return found


async def test_labels_of_before_an_alarm_weigh_a_quarter(learner: Learner) -> None:
    """And those that come after it weigh in full."""
    before = standing(learner)
    assert (before.labels, before.own_labels) == (40, 40)
    learner.doubt(dict.fromkeys(LEVELS, ALARM_S))
    doubted = standing(learner)
    assert (doubted.labels, doubted.own_labels) == (10, 10)
    assert abs(doubted.offsets["cheap"]) < abs(before.offsets["cheap"])
    later = datetime.fromtimestamp(ALARM_S, UTC) + timedelta(hours=1)
    learner.learn(replace(lessons(41)[40], labelled_at=later))
    assert standing(learner).labels == 11


async def test_an_alarm_is_heard_once_and_taken_back_whole(learner: Learner) -> None:
    """Told again it changes nothing, and without it all is as it was."""
    before = standing(learner)
    learner.doubt({LEVELS[2]: ALARM_S})
    once = standing(learner)
    assert (once.labels, once.own_labels) == (40, 10)
    learner.doubt({LEVELS[2]: ALARM_S})
    assert standing(learner) == once
    learner.doubt({})
    after = standing(learner)
    assert (after.labels, after.own_labels) == (40, 40)
    assert after.offsets == pytest.approx(before.offsets)


async def test_lesson_told_again_counts_once_under_doubt(learner: Learner) -> None:
    """As it does without."""
    learner.doubt(dict.fromkeys(LEVELS, ALARM_S))
    for lesson in lessons(40):
        learner.learn(replace(lesson, labelled_at=THEN, agreed=None))
    assert standing(learner).labels == 10
