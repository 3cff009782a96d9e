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
CUT: Final = "max_output_tokens"
"""Why a solve is incomplete whose answer was cut short."""


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
        """The grade of a solve object. What was cut short, and so has no score, is wrong."""
        text: str | None = solve["output_text"]
        if text is None:
            return WRONG
        grade = await self._by(task, solve, text)
        why: Json | None = solve["incomplete_details"]
        is_cut = why is not None and why["reason"] == CUT
        return WRONG if grade.right is None and is_cut else grade

    async def _by(self, task: Task, solve: Json, text: str) -> Grade:
        if isinstance(task.grading, Panel):
            candidate = Candidate(task.problem, text, extract(text, task.extract))
            said = await task.grading.evaluate(candidate)
            return _grade(said.score, said.passed)
        if task.grading == RECORDED:
            return self._by_record(task, solve, text)
        told: Json | None = solve["evaluation"]
        return UNKNOWN if told is None else _grade(told["score"], told["passed"])

    def _by_record(self, task: Task, solve: Json, text: str) -> Grade:
        """By the sample that says the same: of the expert, or else (as drafts go round) of any."""
        names = solve["lineage"]["experts"]
        expert = self._recorded.get(names[-1].rpartition("@")[0]) if names else None
        if expert is None:
            return UNKNOWN
        for models in ((expert.model,), expert.recordings.models(task.problem)):
            samples = [
                sample
                for model in models
                for sample in expert.recordings.samples(task.problem, model)
                if sample.text == text
            ]
            if samples:
                scores = {sample.score for sample in samples}
                return _grade(scores.pop() if len(scores) == 1 else None, None)
        return UNKNOWN


def _grade(score: float | None, passed: bool | None) -> Grade:  # noqa: FBT001 - a verdict
    if score is None:
        return UNKNOWN
    return Grade(score >= FULL if passed is None else passed, score)
