"""Task files: what is sent, what grades, and what is said of a line that cannot be read."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.evaluation.grading import Grade, Grader, RecordedExpert
from app.evaluation.tasks import Task, read_tasks
from app.evaluators.panel import Panel
from app.providers.recordings import Recordings
from tests.evaluation.comparisons import SUMS, task_file

SHOWN = {"type": "exact", "visibility": "search", "config": {"expected": "4"}}
FINAL = {"type": "exact", "config": {"expected": "4"}}
RECORDED = {"type": "recorded"}
NOTHING = {"evaluation": None, "incomplete_details": None}
CUT = {"reason": "max_output_tokens"}


def _only(folder: Path, **line: Any) -> Task:  # noqa: ANN401 - JSON
    return task_file(folder, [{"id": "1", "input": "2 + 2?"} | line]).tasks[0]


async def _grade(task: Task, text: str | None, **solve: Any) -> Grade:  # noqa: ANN401 - JSON
    return await Grader({}).grade(task, {"output_text": text} | NOTHING | solve)


def test_plain_and_packed_files_are_the_same_tasks(tmp_path: Path) -> None:
    """With the same hash, so that a comparison may be gone on with from either."""
    plain = task_file(tmp_path, SUMS)
    packed = tmp_path / "tasks.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "tasks.jsonl").read_bytes()))
    again = read_tasks(packed)
    assert again.sha256 == plain.sha256
    assert [task.id for task in again.tasks] == ["sum", "capital"]


def test_final_evaluators_are_not_sent(tmp_path: Path) -> None:
    """Those that a strategy may see are, without the word that says so."""
    task = _only(tmp_path, evaluators=[FINAL, SHOWN], combine="all")
    assert task.body["evaluators"] == [{"type": "exact", "config": {"expected": "4"}}]
    assert task.body["combine"] == "all"
    assert isinstance(task.grading, Panel)
    alone = _only(tmp_path, evaluators=[FINAL], category="sums", metadata={"a": "b"})
    assert alone.body == {"input": "2 + 2?", "metadata": {"a": "b", "category": "sums"}}


def test_problem_of_a_conversation_is_its_last_message(tmp_path: Path) -> None:
    """As the gateway reads it, whose recordings are keyed by it."""
    parts = [{"type": "text", "text": "2"}, {"type": "text", "text": "+ 2?"}]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    task = _only(tmp_path, input=turns, expected=4)
    assert task.problem == "2\n+ 2?"
    assert task.body["input"] == turns


@pytest.mark.parametrize(
    ("expected", "text", "is_right"),
    [
        (4, "The answer is 4.0", True),
        (0.5, "1/2", True),
        (4, "5", False),
        ("Paris", "**paris**", True),
        (["Paris", "Lutetia"], "Lutetia", True),
        ("Paris", "London", False),
    ],
)
async def test_expected_is_compared_as_what_it_is(
    tmp_path: Path, expected: object, text: str, *, is_right: bool
) -> None:
    """A number as one, a text by equality, a list by any of its texts."""
    grade = await _grade(_only(tmp_path, expected=expected), text)
    assert grade.right is is_right
    assert (await _grade(_only(tmp_path, expected=expected), None)).right is False


async def test_gateway_grades_what_it_was_shown(tmp_path: Path) -> None:
    """By its own verdict; where it has none, nothing is known, which is not wrong."""
    task = _only(tmp_path, evaluators=[SHOWN])
    told = {"score": 0.7, "passed": True}
    assert await _grade(task, "4", evaluation=told) == Grade(right=True, score=0.7)
    assert await _grade(task, "4") == Grade(None, None)
    assert await _grade(task, "4", incomplete_details=CUT) == Grade(right=False, score=0.0)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("<answer>4</answer>", Grade(right=True, score=1.0)),
        ("<answer>5</answer>", Grade(right=False, score=0.25)),
        ("<answer>5</answer>\n", Grade(None, None)),
        ("of another model", Grade(right=False, score=0.5)),
        ("never recorded", Grade(None, None)),
    ],
)
async def test_recorded_answer_has_the_score_it_came_with(
    tmp_path: Path, text: str, grade: Grade
) -> None:
    """Of one that nobody scored, or that is not there, nothing is known."""
    samples = [("<answer>4</answer>", 1.0), ("<answer>5</answer>", 0.25)]
    rows = [
        {"text": said, "input_tokens": 1, "output_tokens": 1, "score": score}
        for said, score in [*samples, ("<answer>5</answer>\n", None)]
    ]
    other = {"text": "of another model", "input_tokens": 1, "output_tokens": 1, "score": 0.5}
    recordings = Recordings(
        [
            {"problem": "2 + 2?", "model": "m", "samples": rows},
            {"problem": "2 + 2?", "model": "n", "samples": [other]},
        ]
    )
    grader = Grader({"a": RecordedExpert(recordings, "m")})
    task = _only(tmp_path, evaluators=[RECORDED])
    solve = NOTHING | {"output_text": text, "lineage": {"experts": ["b@1", "a@2"]}}
    assert await grader.grade(task, solve) == grade


def test_recorded_scores_need_the_recordings(tmp_path: Path) -> None:
    """It is said before anything is spent."""
    with pytest.raises(InvalidRequest, match="needs the recordings"):
        Grader({}).check(_only(tmp_path, evaluators=[RECORDED]))


BAD_LINES = [
    ("{", "not JSON, Expecting property name"),
    ("[]", "Input should be"),
    ('{"id": "2", "input": [{"role": "user"}], "expected": 4}', "content: Field required"),
    ('{"id": "2", "expected": 4}', "input: Field required"),
    ('{"id": "2", "input": "x", "expected": 4, "colour": 1}', "colour: Extra inputs"),
    ('{"id": "2", "input": "x"}', "nothing to grade by"),
    ('{"id": "a\\nb", "input": "x", "expected": 4}', "id: .* must be printable"),
    ('{"id": "1", "input": "x", "expected": 4}', "'1' is an earlier line's"),
    (json.dumps({"id": "2", "input": "x", "evaluators": [{"type": "guess"}]}), "evaluators.0"),
    (
        json.dumps({"id": "2", "input": "x", "evaluators": [FINAL | {"visibility": "none"}]}),
        "visibility 'none' is neither",
    ),
    (json.dumps({"id": "2", "input": "x", "evaluators": [RECORDED, FINAL]}), "grades alone"),
    (json.dumps({"id": "2", "input": "x", "expected": " "}), "white space cannot be matched"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES)
def test_bad_line_is_named_with_what_to_change(tmp_path: Path, line: str, said: str) -> None:
    """By its number."""
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"id": "1", "input": "2+2?", "expected": 4}\n\n' + line + "\n", "utf-8")
    with pytest.raises(InvalidRequest, match=rf"tasks\.jsonl, line 3: .*{said}"):
        read_tasks(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.jsonl", None, "No such file"),
        ("empty.jsonl", b"\n", "is empty"),
        ("plain.jsonl.gz", b"{}", "gzip"),
        ("latin.jsonl", b"\xff", "UTF-8"),
    ],
)
def test_unreadable_file_is_refused(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    """In one line that names it."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequest, match=rf"{name}: .*{said}"):
        read_tasks(tmp_path / name)
