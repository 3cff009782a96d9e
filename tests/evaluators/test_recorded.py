"""The data's own score, or none."""

import pytest

from app.evaluators.evaluation import Candidate, Evaluation
from app.evaluators.recorded import Recorded


@pytest.mark.parametrize("score", [0.0, 0.25, 1.0])
async def test_recorded_score_is_the_score(score: float) -> None:
    """Zero among them."""
    assert await Recorded().evaluate(Candidate("?", "text", None, score)) == Evaluation(score)


async def test_answer_without_a_recorded_score_has_none() -> None:
    """An error, and never an invented number."""
    made = await Recorded().evaluate(Candidate("?", "text", "text"))
    assert (made.score, made.error) == (None, "no score was recorded for this answer")
