"""How these tests put an answer before an evaluator."""

from app.evaluators.evaluation import Candidate, Evaluation, Evaluator


async def judge(evaluator: Evaluator, answer: str | None, text: str | None = None) -> Evaluation:
    """The evaluation of `answer`, found in `text` (by default all of it)."""
    whole = text if text is not None else answer or ""
    return await evaluator.evaluate(Candidate(problem="", text=whole, answer=answer))


async def score(evaluator: Evaluator, answer: str | None) -> float | None:
    """Only the score."""
    return (await judge(evaluator, answer)).score
