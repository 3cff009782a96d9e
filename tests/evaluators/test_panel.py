"""How scores become one, when an answer passes, and what a failing evaluator does to the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.errors import InvalidRequest
from app.evaluators.evaluation import Candidate
from app.evaluators.panel import Panel, PanelEvaluation
from app.evaluators.specs import Combine, EvaluatorSpec

SPEC: TypeAdapter[EvaluatorSpec] = TypeAdapter(EvaluatorSpec)
ANSWER = "4+4+6+8"


def right(name: str, **common: object) -> EvaluatorSpec:
    """Scores 1.0."""
    return SPEC.validate_python(
        {"type": "exact", "id": name, "config": {"expected": ANSWER}, **common}
    )


def wrong(name: str, **common: object) -> EvaluatorSpec:
    """Scores 0.0."""
    return SPEC.validate_python(
        {"type": "exact", "id": name, "config": {"expected": "x"}, **common}
    )


def graded(name: str, target: int, **common: object) -> EvaluatorSpec:
    """Scores by the distance of `target` from 22."""
    config = {"numbers": [4, 4, 6, 8], "target": target}
    return SPEC.validate_python({"type": "expression", "id": name, "config": config, **common})


def failing(name: str, **common: object) -> EvaluatorSpec:
    """Fails: so large a schema is not checked against so long a text."""
    config = {"schema": {"enum": list(range(4_000))}}
    return SPEC.validate_python({"type": "json_schema", "id": name, "config": config, **common})


async def ask(combine: Combine, *specs: EvaluatorSpec) -> PanelEvaluation:
    """What the panel makes of the answer."""
    text = f"{ANSWER}{' ' * 30_000}"
    return await Panel(specs, combine).evaluate(Candidate("", text, ANSWER))


HALF = 0.3 + 0.6 * 44 / 66  # graded("h", 44): right numbers, 22 away


@pytest.mark.parametrize(
    ("combine", "specs", "score"),
    [
        (Combine.WEIGHTED, [right("a"), wrong("b")], 0.5),
        (Combine.WEIGHTED, [right("a", weight=3), wrong("b")], 0.75),
        (Combine.WEIGHTED, [graded("a", 44), right("b")], (HALF + 1) / 2),
        (Combine.ALL, [right("a"), graded("b", 44)], HALF),
        (Combine.ANY, [wrong("a"), graded("b", 44)], HALF),
        (Combine.CASCADE, [right("a"), right("b")], 1.0),
        (Combine.CASCADE, [wrong("a"), right("b")], 0.0),
        (Combine.CASCADE, [right("a"), wrong("b")], 0.5),
        (Combine.CASCADE, [graded("a", 44), right("b")], HALF / 2),
        (Combine.CASCADE, [graded("a", 44, pass_score=0.5), wrong("b"), right("c")], 1 / 3),
        (
            Combine.CASCADE,
            [graded("a", 44, pass_score=0.5), right("b"), graded("c", 44)],
            (2 + HALF) / 3,
        ),
    ],
)
async def test_scores_are_combined_as_asked(
    combine: Combine, specs: list[EvaluatorSpec], score: float
) -> None:
    """Mean by weight, least, greatest, or how far down the cascade."""
    assert (await ask(combine, *specs)).score == pytest.approx(score)


async def test_a_cascade_stops_where_the_bar_is_missed() -> None:
    """What comes after is not run, so it costs nothing."""
    said = await ask(Combine.CASCADE, right("a"), wrong("b"), right("c"))
    assert [opinion.id for opinion in said.items] == ["a", "b"]


@pytest.mark.parametrize(
    ("combine", "specs", "passed"),
    [
        (Combine.WEIGHTED, [right("a"), right("b")], True),
        (Combine.WEIGHTED, [right("a"), wrong("b")], False),
        (Combine.ANY, [right("a"), wrong("b")], True),
        (Combine.ANY, [right("a"), wrong("b", pass_score=0.5)], False),
        (Combine.WEIGHTED, [right("a", pass_score=1.0), wrong("b")], True),
        (Combine.WEIGHTED, [graded("a", 44, pass_score=0.6)], True),
        (Combine.WEIGHTED, [graded("a", 44, pass_score=0.9)], False),
        (Combine.CASCADE, [graded("a", 44, pass_score=0.6), right("b")], True),
        (Combine.CASCADE, [graded("a", 44), right("b")], False),
        (Combine.WEIGHTED, [right("a"), failing("b", pass_score=0.5)], None),
        (Combine.WEIGHTED, [wrong("a", pass_score=0.5), failing("b", pass_score=0.5)], False),
        (Combine.WEIGHTED, [right("a"), failing("b")], True),
        (Combine.WEIGHTED, [failing("a")], None),
    ],
)
async def test_passing_takes_every_pass_score_that_is_set(
    combine: Combine, specs: list[EvaluatorSpec], *, passed: bool | None
) -> None:
    """With none set, a full score; unknown where an evaluator with a pass score failed."""
    assert (await ask(combine, *specs)).passed is passed


@pytest.mark.parametrize("combine", Combine)
async def test_an_evaluator_that_failed_is_left_out(combine: Combine) -> None:
    """Its own score is null with an error; the panel's is as if it had not been asked for."""
    said = await ask(combine, failing("f"), graded("g", 44))
    alone = await ask(combine, graded("g", 44))
    assert said.score == alone.score
    assert said.error is None
    assert said.items[0].score is None
    assert said.items[0].error


@pytest.mark.parametrize("combine", Combine)
async def test_a_required_evaluator_that_failed_leaves_no_score(combine: Combine) -> None:
    """Not an invented one: null, and why."""
    said = await ask(combine, right("r"), failing("f", required=True))
    assert (said.score, said.passed) == (None, None)
    assert said.error == "f: the answer is too long for a schema of this size"


@pytest.mark.parametrize("combine", Combine)
async def test_all_failed_is_no_score(combine: Combine) -> None:
    """Even when none was required."""
    said = await ask(combine, failing("f"), failing("g"))
    assert said.score is None
    assert said.error is not None
    assert "g: " in said.error


async def test_feedback_and_items_name_their_evaluators() -> None:
    """Those without complaint are not in the feedback."""
    said = await ask(Combine.ALL, right("a"), wrong("b"), graded("c", 44))
    assert said.feedback == f"b: '{ANSWER}' is not the expected answer\nc: {ANSWER} = 22, not 44"
    assert [(opinion.id, opinion.type) for opinion in said.items] == [
        ("a", "exact"),
        ("b", "exact"),
        ("c", "expression"),
    ]
    assert all(opinion.ms >= 0 for opinion in said.items)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "evaluators: at least one"),
        ([right("a"), wrong("a")], "evaluators: two share an id"),
        (
            [right("a"), SPEC.validate_python({"type": "exact", "config": {"expected": " "}})],
            r"evaluators\.1\.config\.expected",
        ),
    ],
)
def test_a_panel_that_cannot_work_is_refused(specs: list[EvaluatorSpec], message: str) -> None:
    """When it is built, naming the field to change."""
    with pytest.raises(InvalidRequest, match=message):
        Panel(specs, Combine.ALL)


@given(
    targets=st.lists(st.integers(-50, 50), min_size=1, max_size=6),
    weights=st.lists(st.floats(0.001, 1_000), min_size=6, max_size=6),
    combine=st.sampled_from(Combine),
)
async def test_a_panel_score_is_between_zero_and_one(
    targets: list[int], weights: list[float], combine: Combine
) -> None:
    """And full exactly when every evaluator gave a full score, or with `any` one of them."""
    specs = [
        graded(f"e{n}", target, weight=weight)
        for n, (target, weight) in enumerate(zip(targets, weights, strict=False))
    ]
    said = await ask(combine, *specs)
    assert said.score is not None
    assert 0.0 <= said.score <= 1.0
    hits = [target == 22 for target in targets]
    assert said.passed == (any(hits) if combine is Combine.ANY else all(hits))
