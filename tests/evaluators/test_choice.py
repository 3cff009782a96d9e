"""The option that an answer chooses is read by letter or by text, and only when it is clear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.evaluators.choice import Choice, ChoiceConfig
from tests.evaluators.judging import judge, score

CITIES = ("Berlin", "Paris", "Rome", "Oslo")


def choice(expected: str = "B", options: tuple[str, ...] | None = CITIES) -> Choice:
    """Which of four cities?"""
    return Choice(ChoiceConfig(expected=expected, options=options))


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b",
        "(B)",
        "(b)",
        "[B]",
        "B.",
        "B)",
        "B:",
        "**B**",
        "`B`",
        "$B$",
        r"\boxed{B}",
        "B. Paris",
        "(B) Paris",
        "b) paris",
        "B: Paris",
        "**B.** Paris",
        r"\text{(B)}",
        "The answer is B",
        "Answer: (B)",
        "answer is B because of the tower",
        "option B",
        "Paris",
        "paris.",
        "**Paris**",
    ],
)
async def test_ways_to_choose_the_right_option(answer: str) -> None:
    """Letter alone, letter and text, in a sentence, text alone."""
    assert await score(choice(), answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "A",
        "C) Rome",
        "Rome",
        "E",
        "A or B",
        "B or C",
        "(A) and (B)",
        "B, C",
        "B and C",
        "",
        "?",
        "the answer is a mystery",
        "answer is B, or answer is C",
        "Boston",
        "I think so",
        "BB",
        None,
    ],
)
async def test_other_options_and_unclear_answers_are_wrong(answer: str | None) -> None:
    """Two letters are not half right."""
    assert await score(choice(), answer) == 0.0


async def test_letters_are_read_without_option_texts() -> None:
    """Then any letter may be answered, and texts mean nothing."""
    assert await score(choice("G", None), "(g)") == 1.0
    assert await score(choice("G", None), "Paris") == 0.0


async def test_an_article_is_not_option_a() -> None:
    """A and I count in a sentence only where it could end."""
    assert await score(choice("A"), "The answer is A.") == 1.0
    assert await score(choice("A"), "The answer is A mystery") == 0.0


async def test_feedback_names_no_right_option() -> None:
    """It says what was read, and the letters there are."""
    assert (await judge(choice(), "C")).feedback == "C is not the right option"
    assert (await judge(choice(), "E")).feedback == "E is not one of A-D"


@pytest.mark.parametrize(
    ("expected", "options", "field"),
    [("E", CITIES, "config.expected"), ("A", ("x", "X "), "config.options")],
)
def test_a_question_that_cannot_be_answered_is_refused(
    expected: str, options: tuple[str, ...], field: str
) -> None:
    """A letter beyond the options; two options that read alike."""
    with pytest.raises(InvalidRequest, match=field):
        choice(expected, options)


@given(answer=st.text() | st.text(alphabet="ABab().:,*or answeris", max_size=40))
async def test_any_text_is_scored_zero_or_one(answer: str) -> None:
    """Nothing is raised, whatever the answer."""
    assert await score(choice(), answer) in {0.0, 1.0}
