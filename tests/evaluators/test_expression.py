"""Exactly right is 1.0 and nothing else is; the rest is graded, and feedback says what is wrong."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluators.expression import Expression, ExpressionConfig
from tests.evaluators.judging import judge, score

DATA = Path(__file__).parent / "data" / "game24_samples.jsonl"
GIVEN = (4, 4, 6, 8)


def game24(*numbers: int) -> Expression:
    """A Game of 24."""
    return Expression(ExpressionConfig(numbers=numbers, target=24))


def recorded() -> list[tuple[tuple[int, ...], str, bool]]:
    """Puzzle, answer of GPT-4, and whether it was right."""
    rows = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    return [(tuple(map(int, row["puzzle"].split())), row["answer"], row["correct"]) for row in rows]


@pytest.mark.parametrize(("numbers", "answer", "correct"), recorded())
async def test_full_score_agrees_with_the_recorded_verdict(
    numbers: tuple[int, ...], answer: str, *, correct: bool
) -> None:
    """On answers of GPT-4, chosen for being awkward."""
    assert (await score(game24(*numbers), answer) == 1.0) == correct


@pytest.mark.parametrize(
    "answer",
    [
        "(4+8)*(6-4)",
        "(4+8) \N{MULTIPLICATION SIGN} (6\N{MINUS SIGN}4)",
        "(4+8)*(6-4) = 24",
        "24 = (4+8)*(6-4)",
        "(4+8)*(6-4).",
        "((4+8)*(6-4))",
        "(6-4)*(4.0+8)=24.0",
        r"\(\left(4+8\right)\times(6-4)\)",
        "-(4+8)*(4-6)",
    ],
)
async def test_a_right_expression_scores_one_without_feedback(answer: str) -> None:
    """However it is written, with or without its value."""
    said = await judge(game24(*GIVEN), answer)
    assert (said.score, said.feedback, said.error) == (1.0, "", None)


@pytest.mark.parametrize(
    ("answer", "feedback"),
    [
        ("4+4+6*8", "4+4+6*8 = 56, not 24"),
        ("4*4/(6*8)", "4*4/(6*8) = 1/3, not 24"),
        ("(4+4)*2", "(4+4)*2 = 16, not 24; uses 2, which is not given; 6 not used; 8 not used"),
        ("(8-4)*6", "uses 4 once, given twice"),
        ("8*6*4/(4+4)", "uses 4 three times, given twice"),
        ("4/(4-4)+6+8", "divides by zero; uses 4 three times, given twice"),
        ("(4+8)*(6-4) = 25", "(4+8)*(6-4) = 24, not 25"),
        ("(4+8)*(6-4) = 12*2 = 24", "only a single number may stand on the other side of '='"),
        ("6**4", "powers are not allowed"),
        ("(4+8)*(6-4", "'(' is never closed"),
        ("No solution", "'No solution' is not one arithmetic expression"),
        ("9" * 501, "longer than 500 characters"),
    ],
)
async def test_feedback_says_exactly_what_is_wrong(answer: str, feedback: str) -> None:
    """So that a refiner knows what to mend."""
    said = await judge(game24(*GIVEN), answer)
    assert feedback in said.feedback
    assert said.error is None
    assert said.score is not None
    assert said.score < 1.0


async def test_grades_fall_with_distance_and_with_misused_numbers() -> None:
    """Right numbers beat wrong ones, near beats far, more beats fewer, anything beats nothing."""
    evaluator = game24(*GIVEN)
    answers = [
        "(4+8)*(6-4)",  # right
        "(4+8)*(6-4) = 25",  # right, but says otherwise
        "4+4+6+8",  # 22
        "(4+4)*6-8",  # 40
        "4*4*6*8",  # 768
        "4+4+6*2+4",  # 24 with half the numbers misused
        "4*6*1*1",  # 24 with two of four
        "4-4",  # 0 with two of four
        "4/(4-4)",  # no value
        "7*3",  # nothing that was given
        "No solution",
    ]
    scores = [await score(evaluator, answer) or 0.0 for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert scores[-1] == 0.0
    assert all(left > right for left, right in pairwise(scores[:6]))


async def test_a_division_by_zero_scores_low_but_is_no_error() -> None:
    """A value that does not exist is far from every target."""
    said = await judge(game24(1, 1, 5, 7), "(5+7)/(1-1)")
    assert (said.score, said.error) == (0.1, None)
    assert said.feedback == "(5+7)/(1-1) divides by zero"


async def test_no_answer_scores_zero() -> None:
    """The text held none: the answer's fault, not the evaluator's."""
    assert await score(game24(*GIVEN), None) == 0.0


async def test_countdown_may_leave_numbers_out_but_not_repeat_them() -> None:
    """`use: any` asks for each number at most once."""
    countdown = Expression(ExpressionConfig(numbers=(25, 50, 3, 7), target=75, use="any"))
    assert await score(countdown, "25+50") == 1.0
    assert await score(countdown, "25*3") == 1.0
    assert (await judge(countdown, "25+25+25")).feedback == "uses 25 three times"


async def test_only_the_named_operators_may_be_used() -> None:
    """A sign counts as one."""
    adding = Expression(ExpressionConfig(numbers=(4, 6), target=24, operators="+-"))
    assert (await judge(adding, "4*6")).feedback == "uses *, which is not allowed"


async def test_decimals_are_exact() -> None:
    """Given as strings, so that no float comes near them."""
    config = ExpressionConfig(numbers=("0.1", "0.2"), target="0.3")
    assert await score(Expression(config), "0.1+0.2") == 1.0


@given(answer=st.text() | st.text(alphabet="0123456789+-*/() =", max_size=40))
async def test_a_score_is_always_between_zero_and_one(answer: str) -> None:
    """On any text, and full only without feedback."""
    said = await judge(game24(*GIVEN), answer)
    assert said.score is not None
    assert 0.0 <= said.score <= 1.0
    assert (said.score == 1.0) == (said.feedback == "")


@given(
    numbers=st.permutations(GIVEN),
    signs=st.lists(st.sampled_from("+-*/"), min_size=3, max_size=3),
)
async def test_full_score_means_the_value_is_the_target(
    numbers: list[int], signs: list[str]
) -> None:
    """Over chains of the given numbers: 1.0 exactly where exact arithmetic gives the target."""
    chain = "".join(f"{n}{sign}" for n, sign in zip(numbers, [*signs, ""], strict=True))
    answer = await judge(game24(*GIVEN), chain)
    itself = await judge(game24(*GIVEN), f"{chain} = 24")
    assert (answer.score == 1.0) == (
        "not 24" not in answer.feedback and "zero" not in answer.feedback
    )
    assert answer.score == itself.score
