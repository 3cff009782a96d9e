"""Whether an answer is right, by what its task says and the strategy was not shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.answers.extract import extract
from app.errors import InvalidRequest
from app.evaluation.tasks import RECORDED, Task
from app.evaluators.evaluation import Candidate
from app.evaluators.panel import Panel
from app.providers.recordings import Recordings

Json = Mapping[str, Any]
FULL: Final = 1.0


@dataclass(frozen=True, slots=True)
class Grade:
    """`right` and `score` are None where nothing could tell."""

    right: bool | None
    score: float | None


UNKNOWN: Final = Grade(None, None)
WRONG: Final = Grade(right=False, score=0.0)


@dataclass(frozen=True, slots=True)
class RecordedExpert:
    """An expert whose answers are recorded: where, and under which model's name."""

    recordings: Recordings
    model: str


class Grader:
    """Grades solves; `recorded` has the experts whose samples came with a score, by name."""

    def __init__(self, recorded: Mapping[str, RecordedExpert]) -> None:
        self._recorded = recorded

    def check(self, task: Task) -> None:
        """Raise InvalidRequest for a task that could not be graded here."""
        if task.grading == RECORDED and not self._recorded:
            raise InvalidRequest(
                "tasks",
                f"{task.id!r} has a final `recorded` evaluator, which needs the recordings: "
                "run in process, with --config",
            )

    async def grade(self, task: Task, solve: Json) -> Grade:
        """The grade of a solve object."""
        text = solve["output_text"]
        if isinstance(task.grading, Panel):
            answer = None if text is None else extract(text, task.extract)
            said = await task.grading.evaluate(Candidate(task.problem, text or "", answer))
            return _grade(said.score, said.passed)
        if task.grading == RECORDED:
            return WRONG if text is None else self._by_record(task, solve, text)
        told: Json | None = solve["evaluation"]
        return UNKNOWN if told is None else _grade(told["score"], told["passed"])

    def _by_record(self, task: Task, solve: Json, text: str) -> Grade:
        names = solve["lineage"]["experts"]
        expert = self._recorded.get(names[-1].rpartition("@")[0]) if names else None
        if expert is None:
            return UNKNOWN
        samples = expert.recordings.samples(task.problem, expert.model)
        scores = {sample.score for sample in samples if sample.text == text}
        if not scores and any(sample.text.startswith(text) for sample in samples):
            return WRONG  # cut short, before the answer at its end
        score = scores.pop() if len(scores) == 1 else None
        return UNKNOWN if score is None else _grade(score, None)


def _grade(score: float | None, passed: bool | None) -> Grade:  # noqa: FBT001 - a verdict
    if score is None:
        return UNKNOWN
    return Grade(score >= FULL if passed is None else passed, score)
