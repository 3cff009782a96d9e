"""What a solve that has ended teaches the gate. Pure: facts of the run in, a lesson out."""

from app.answers.canonical import equal
from app.gate.gate import Route
from app.gate.learned import features_of
from app.learning.lesson import CHEAP, ESCALATED, NOISE, SEARCH, STRONG, VERIFIER, Lesson
from app.money import NanoUSD
from app.search.trial import StopReason
from app.solve import attempt
from app.solve.report import Solved, Status
from app.solve.run import Answer, Run
from app.solve.weighing import pair_of, signals_of

SECOND = "gate.second"

_BY_ITSELF = frozenset(StopReason) - {StopReason.EXPERTS_FAILED}
"""How a search ends that has done what it could."""


def lesson_of(run: Run, solved: Solved) -> Lesson | None:
    """The lesson; None where the gate was not asked, or there is no answer."""
    standing, made = run.plan.gate, run.decision
    if standing is None or made is None or made.gate_version is None:
        return None
    answered = solved.status in {Status.COMPLETED, Status.INCOMPLETE}
    if not answered and not solved.low_confidence:
        return None
    first, best = _answer(run, attempt.FIRST), run.best
    cheap, strong, search, source = _labels(run, solved, first)
    return Lesson(
        solve_id=run.claim.solve_id,
        tenant_id=run.claim.account.tenant_id,
        pair=pair_of(run.plan),
        category=standing.category,
        pooled=standing.pooled,
        version=made.gate_version,
        propensity=made.propensity,
        route=made.route,
        answered=_arm(best, agreed=made.opinion_agrees),
        same=_same(first, best),
        agreed=made.opinion_agrees,
        features=None if first is None else features_of(signals_of(first)),
        cheap_cost=_cost(solved, attempt.FIRST),
        second_cost=_cost(solved, SECOND),
        strong_cost=_cost(solved, attempt.STRONG),
        search_cost=_searched(solved),
        source=source,
        cheap=cheap,
        strong=strong,
        search=search,
    )


def _labels(
    run: Run, solved: Solved, first: Answer | None
) -> tuple[float | None, float | None, float | None, str | None]:
    panel, strong = run.request.panel, _answer(run, attempt.STRONG)
    if panel is not None and panel.is_decisive:
        target, best = run.request.search.target_score, run.best
        searched = run.search is not None and solved.stop_reason in set(_BY_ITSELF)
        return (
            _reached(first, target),
            _reached(strong, target),
            _reached(best, target) if searched else None,
            VERIFIER,
        )
    same = _same(first, strong)
    if same is None:
        return None, None, None, None
    # Two models that agree are mostly right; where they differ, the strong one may be wrong, too.
    return (1 - NOISE, 1 - NOISE, None, ESCALATED) if same else (NOISE, None, None, ESCALATED)


def _answer(run: Run, op: str) -> Answer | None:
    return next((answer for answer in run.answers if answer.reply.op == op), None)


def _reached(answer: Answer | None, target: float) -> float | None:
    if answer is None or answer.score is None:
        return None
    return float(answer.score >= target)


def _same(first: Answer | None, other: Answer | None) -> bool | None:
    if first is None or other is None or first.answer is None or other.answer is None:
        return None
    return first is other or equal(first.answer, other.answer)


def _arm(best: Answer | None, *, agreed: bool | None) -> str | None:
    op = None if best is None else best.reply.op
    match op:
        case attempt.FIRST:
            return CHEAP
        case attempt.STRONG:
            return STRONG
        case "gate.second":
            return CHEAP if agreed else None
        case None:
            return None
        case _:
            return SEARCH


def _cost(solved: Solved, op: str) -> NanoUSD | None:
    lines = [line.cost for line in solved.calls if line.op == op]
    return NanoUSD(sum(lines)) if lines else None


def _searched(solved: Solved) -> NanoUSD | None:
    made = solved.decision
    if made is None or made.route is not Route.SEARCH:
        return None
    gate = {attempt.FIRST, SECOND, attempt.STRONG}
    return NanoUSD(sum(line.cost for line in solved.calls if line.op not in gate))
