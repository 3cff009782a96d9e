"""Several evaluators, one score.

    weighted   mean of the scores by weight
    all        the least                      any   the greatest
    cascade    in order, stopping at the first below its pass score (1.0 unless given):
               (evaluators passed + the last score) / evaluators, so that a later stop ranks higher

An evaluator that failed has no score. If it was required, neither has the panel; otherwise it is
left out, as if it had not been asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from app.errors import InvalidRequest
from app.evaluators.build import build
from app.evaluators.evaluation import Candidate, Evaluator
from app.evaluators.specs import Combine, EvaluatorSpec


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one evaluator of the panel said, in `ms` milliseconds of wall time."""

    id: str
    type: str
    score: float | None
    ms: float
    error: str | None
    feedback: str


@dataclass(frozen=True, slots=True)
class PanelEvaluation:
    """The panel's verdict; `score` is None exactly when `error` is not.

    `passed` is None when it cannot be known: there is no score, or an evaluator with a pass score
    failed. `items` holds the evaluators that ran, in the order in which they were asked for.
    """

    score: float | None
    passed: bool | None
    items: tuple[Opinion, ...]
    feedback: str
    error: str | None


Ran = tuple[EvaluatorSpec, Opinion]
Scored = tuple[EvaluatorSpec, float]


class Panel:
    """Asks each evaluator in turn. Built once for a solve; it keeps nothing between answers."""

    def __init__(self, specs: Sequence[EvaluatorSpec], combine: Combine) -> None:
        if len({spec.id for spec in specs}) < len(specs):
            raise InvalidRequest("evaluators", "two share an id; give each its own")
        self._combine = combine
        self._members = [(spec, _build(index, spec)) for index, spec in enumerate(specs)]
        if not self._members:
            raise InvalidRequest("evaluators", "at least one is needed")

    async def evaluate(self, candidate: Candidate) -> PanelEvaluation:
        """Score one candidate; a failure is a verdict with an error, not an exception."""
        ran = await self._run(candidate)
        opinions = tuple(opinion for _, opinion in ran)
        feedback = "\n".join(f"{said.id}: {said.feedback}" for said in opinions if said.feedback)
        scored = [(spec, said.score) for spec, said in ran if said.score is not None]
        failed = [
            said for spec, said in ran if said.score is None and (spec.required or not scored)
        ]
        if failed:
            error = "; ".join(f"{said.id}: {said.error}" for said in failed)
            return PanelEvaluation(None, None, opinions, feedback, error)
        score = self._combined(scored, left_out=len(ran) - len(scored))
        return PanelEvaluation(score, self._passed(score, ran), opinions, feedback, None)

    async def _run(self, candidate: Candidate) -> list[Ran]:
        ran: list[Ran] = []
        for spec, evaluator in self._members:
            opinion = await _ask(spec, evaluator, candidate)
            ran.append((spec, opinion))
            if self._combine is Combine.CASCADE and _stops(spec, opinion):
                break
        return ran

    def _combined(self, scored: Sequence[Scored], *, left_out: int) -> float:
        scores = [score for _, score in scored]
        match self._combine:
            case Combine.WEIGHTED:
                total = sum(spec.weight * score for spec, score in scored)
                return min(1.0, total / sum(spec.weight for spec, _ in scored))
            case Combine.ALL:
                return min(scores)
            case Combine.ANY:
                return max(scores)
            case Combine.CASCADE:
                return (len(scores) - 1 + scores[-1]) / (len(self._members) - left_out)

    def _passed(self, score: float, ran: Sequence[Ran]) -> bool | None:
        """Whether every pass score that is set was reached; with none set, a full score passes."""
        cascade = self._combine is Combine.CASCADE
        if cascade and any(_stops(spec, said) for spec, said in ran):
            return False
        bars = [(spec.pass_score, said.score) for spec, said in ran if spec.pass_score is not None]
        if any(reached is not None and reached < bar for bar, reached in bars):
            return False
        if any(reached is None for _, reached in bars):
            return None
        return cascade or bool(bars) or score == 1.0


def _build(index: int, spec: EvaluatorSpec) -> Evaluator:
    try:
        return build(spec)
    except InvalidRequest as refused:
        raise InvalidRequest(f"evaluators.{index}.{refused.field}", refused.detail) from refused


async def _ask(spec: EvaluatorSpec, evaluator: Evaluator, candidate: Candidate) -> Opinion:
    started = perf_counter()
    said = await evaluator.evaluate(candidate)
    ms = (perf_counter() - started) * 1000
    return Opinion(spec.id, spec.type, said.score, ms, said.error, said.feedback)


def _stops(spec: EvaluatorSpec, opinion: Opinion) -> bool:
    """Whether a cascade ends here: a required failure, or a score below the bar."""
    if opinion.score is None:
        return spec.required
    return opinion.score < (1.0 if spec.pass_score is None else spec.pass_score)
