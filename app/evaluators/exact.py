"""Is the answer the expected one? Compared in canonical spelling, on the extracted answer only."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.answers.canonical import canonical
from app.errors import InvalidRequest
from app.evaluators.evaluation import Candidate, Evaluation

Accepted = Annotated[str, Field(min_length=1, max_length=10_000)]


class ExactConfig(BaseModel):
    """What is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: Accepted | Annotated[tuple[Accepted, ...], Field(min_length=1, max_length=100)] = (
        Field(description="The right answer, or a list of answers each of which is right.")
    )
    case_sensitive: bool = Field(
        default=False,
        description="Whether `a` and `A` differ. White space, Unicode forms, quotes around the "
        "whole and spellings of one number (1,000 and 1e3) never do.",
    )


class Exact:
    """Scores 1.0 for an answer equal to one that is expected, else 0.0.

    Feedback never repeats what is expected: a refiner would only copy it.
    """

    def __init__(self, config: ExactConfig) -> None:
        accepted = (config.expected,) if isinstance(config.expected, str) else config.expected
        self._case_sensitive = config.case_sensitive
        self._accepted = {self._canonical(answer) for answer in accepted}
        if "" in self._accepted:
            raise InvalidRequest("config.expected", "an answer of white space cannot be matched")

    async def evaluate(self, candidate: Candidate) -> Evaluation:
        """Compare the extracted answer; none found scores 0.0."""
        if candidate.answer is None:
            return Evaluation(0.0, "no answer was found in the text")
        if self._canonical(candidate.answer) in self._accepted:
            return Evaluation(1.0)
        return Evaluation(0.0, f"{candidate.answer[:80]!r} is not the expected answer")

    def _canonical(self, answer: str) -> str:
        return canonical(answer, case_sensitive=self._case_sensitive)
