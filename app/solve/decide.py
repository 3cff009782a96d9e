"""The gate's shell: buys the answers that the rule wants to see, and writes down its verdict."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.answers.canonical import equal
from app.gate.gate import Accept, BuyOpinion, Route
from app.gate.learned import Standing
from app.solve import weighing
from app.solve.attempt import FIRST, CallFailed
from app.solve.plan import Plan
from app.solve.run import Answer, Decision, Run
from app.solve.weighing import Said

VERIFIED: Final = "verified"
"""The reason where a decisive evaluator has found the answer right."""


async def decide(run: Run) -> Route:
    """Ask for the first answer and perhaps a second opinion; the route, explained in the run.

    A failed first call is no answer, and escalates. Where the gate has learned that the cheap call
    is not worth making, none is. Raises BudgetExceeded or LimitReached when not even the first call
    fits.
    """
    if run.plan.begins_strong:
        return _record(run, weighing.unasked(run))
    first = await _first(run)
    said = weighing.after_first(run, first)
    if first is None or not isinstance(said.verdict, BuyOpinion):
        return _record(run, said)
    wanted = said.verdict.because
    # Stands if the time or the budget ends here.
    _record(run, said, because=[f"{wanted}, but none came"])
    second = await _second(run)
    agree = None if second is None else agrees(first, second)
    final = weighing.after_second(run, first, agree=agree)
    return _record(run, final, because=[wanted], agree=agree)


def forced_single(plan: Plan) -> Decision:
    """The decision where nothing was to be decided."""
    if plan.ladder is not None:
        return Decision(Route.SINGLE, "budget_ladder", [plan.ladder])
    return Decision(Route.SINGLE, "forced", ["the request asks for one call"])


def is_accepted(standing: Standing, made: Decision) -> bool:
    """Whether the learned gate let the answer pass on its own judgement.

    These answers are audited, and certificates are about them: not about one that an evaluator has
    found right, which cannot be regretted, nor what the untrained rule decided.
    """
    learned = made.gate_version == standing.version
    return learned and made.route is Route.SINGLE and made.reason != VERIFIED


def agrees(first: Answer, second: Answer) -> bool:
    """Whether both say the same; what could not be read says nothing."""
    return (
        first.answer is not None
        and second.answer is not None
        and equal(first.answer, second.answer)
    )


async def _first(run: Run) -> Answer | None:
    try:
        return await run.ask(FIRST, run.plan.first)
    except CallFailed:
        return None


async def _second(run: Run) -> Answer | None:
    try:
        return await run.ask("gate.second", run.plan.second)
    except CallFailed:
        return None


def _record(
    run: Run, said: Said, *, because: Sequence[str] = (), agree: bool | None = None
) -> Route:
    verdict = said.verdict
    if isinstance(verdict, BuyOpinion):
        route, reason, why = Route.SINGLE, "unconfirmed", because
    else:
        route = Route.SINGLE if isinstance(verdict, Accept) else verdict.route
        reason, why = verdict.reason, [*because, verdict.because]
    run.decision = Decision(
        route=route,
        reason=reason,
        because=[*why, *said.reasons],
        gate_version=said.version,
        opinion_bought=agree is not None,
        opinion_agrees=agree,
        p_single=said.p_single,
        p_alternative=said.p_alternative,
        gain=said.gain,
        propensity=1.0 if run.plan.gate is None else run.plan.gate.propensity,
    )
    if run.plan.gate is not None and is_accepted(run.plan.gate, run.decision):
        run.decision = replace(run.decision, certificate=run.plan.gate.certificate)
    return route
