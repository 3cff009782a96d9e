"""The extracted answer equals what is expected, or it does not."""

import pytest

from app.errors import InvalidRequest
from app.evaluators.exact import Exact, ExactConfig
from tests.evaluators.judging import judge, score


@pytest.mark.parametrize(
    ("expected", "answer", "wanted"),
    [
        ("Paris", "paris.", 1.0),
        ("Paris", "**Paris**", 1.0),
        ("Paris", "London", 0.0),
        ("Paris", "Paris, France", 0.0),
        ("1000", "1,000", 1.0),
        ("[1, 2]", "[1,2]", 1.0),
        ("0.5", "50%", 0.0),
        (("yes", "true"), "True", 1.0),
        (("yes", "true"), "no", 0.0),
        ("Paris", None, 0.0),
    ],
)
async def test_answers_are_compared_in_canonical_spelling(
    expected: str | tuple[str, ...], answer: str | None, wanted: float
) -> None:
    """Any of the accepted ones will do; an absent answer is wrong."""
    assert await score(Exact(ExactConfig(expected=expected)), answer) == wanted


async def test_case_counts_when_asked_to() -> None:
    """`a` and `A` are then different answers."""
    evaluator = Exact(ExactConfig(expected="aB", case_sensitive=True))
    assert await score(evaluator, "aB") == 1.0
    assert await score(evaluator, "ab") == 0.0


async def test_feedback_never_tells_the_expected_answer() -> None:
    """A refiner would only copy it."""
    said = await judge(Exact(ExactConfig(expected="Paris")), "London")
    assert "Paris" not in said.feedback
    assert "London" in said.feedback


def test_an_expected_answer_of_white_space_is_refused() -> None:
    """No answer could ever equal it."""
    with pytest.raises(InvalidRequest, match=r"config\.expected"):
        Exact(ExactConfig(expected=("a", " ")))
