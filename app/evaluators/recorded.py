"""The score that the recordings themselves have of a recorded answer, as their authors judged it.

Nothing is judged here, so what was recorded without a score has none.
"""

from pydantic import BaseModel, ConfigDict

from app.evaluators.evaluation import Candidate, Evaluation


class RecordedConfig(BaseModel):
    """Nothing to choose: the score is in the recordings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Recorded:
    """Gives an answer the score that it was recorded with."""

    async def evaluate(self, candidate: Candidate) -> Evaluation:
        """No recorded score is no score; what an answer's faults are was not recorded either."""
        if candidate.recorded_score is None:
            return Evaluation(None, error="no score was recorded for this answer")
        return Evaluation(candidate.recorded_score)
