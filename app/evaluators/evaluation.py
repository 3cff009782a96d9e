"""What an evaluator takes and gives.

A score is in [0, 1], or absent with an error; it is never invented.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer to be scored: the whole `text`, and the `answer` extracted from it.

    `answer` is None when nothing could be extracted; `problem` is the caller's own input text.
    `recorded_score` is in [0, 1] where the answer is a recorded one that came with a score.
    """

    problem: str
    text: str
    answer: str | None
    recorded_score: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluator's opinion of one candidate; `score` is None exactly when `error` is not.

    `feedback` is what a refiner may be told about the answer's faults.
    """

    score: float | None
    feedback: str = ""
    error: str | None = None


class Evaluator(Protocol):
    """Scores candidates. It never sees a tenant, a price or a provider's client."""

    async def evaluate(self, candidate: Candidate) -> Evaluation:
        """Score one candidate; a failure is an Evaluation with an error, not an exception."""
        ...
