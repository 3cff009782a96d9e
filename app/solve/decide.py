"""The gate's shell: buys the answers that the rule wants to see, and writes down its verdict."""

from app.answers.canonical import cluster, equal
from app.gate import gate
from app.gate.gate import Accept, BuyOpinion, Escalate, FirstAnswer, Route, Stakes
from app.money import NanoUSD
from app.solve.attempt import FIRST, CallFailed
from app.solve.plan import Seat
from app.solve.run import Answer, Decision, Run


async def decide(run: Run) -> Route:
    """Ask for the first answer and perhaps a second opinion; the route, explained in the run.

    A failed first call is no answer, and escalates. Raises BudgetExceeded or LimitReached when not
    even the first call fits.
    """
    first = await _first(run)
    stakes = _stakes(run, first)
    seen = FirstAnswer(
        arrived=first is not None,
        well_formed=first is not None and first.well_formed,
        score=None if first is None else first.score,
    )
    verdict = gate.after_first(seen, stakes)
    if first is None or not isinstance(verdict, BuyOpinion):
        assert not isinstance(verdict, BuyOpinion), "an opinion on nothing"
        return _record(run, verdict, [])
    # Stands if the time or the budget ends here.
    _record(run, Accept("unconfirmed", f"{verdict.because}, but none came"), [])
    second = await _second(run)
    agree = None if second is None else _agree(first, second)
    final = gate.after_second(agree=agree, stakes=stakes)
    return _record(run, final, [verdict.because], agree=agree)


def choose(run: Run, strong: Answer) -> Answer:
    """After a strong call: what most answers say, and the strong one where they all differ.

    A score outranks a majority; an unreadable answer is the last choice.
    """
    if run.panel is not None:
        return run.best or strong
    groups = cluster([answer.answer for answer in run.answers])
    if groups and len(groups[0]) > 1:
        return run.answers[groups[0][0]]
    if strong.well_formed:
        return strong
    return next((answer for answer in run.answers if answer.well_formed), strong)


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


def _stakes(run: Run, first: Answer | None) -> Stakes:
    panel = run.request.panel
    return Stakes(
        value=run.plan.value,
        opinion_cost=_expected(run.plan.second, first),
        strong_cost=NanoUSD(0) if run.plan.strong is None else _expected(run.plan.strong, first),
        second_opinion=run.request.gate.second_opinion,
        has_evaluator=panel is not None,
        decisive=panel is not None and panel.is_decisive,
        target_score=run.request.search.target_score,
    )


def _expected(seat: Seat, first: Answer | None) -> NanoUSD:
    # As long as the first answer: the best guess before anything has been learned.
    usage = None if first is None else first.reply.completion.usage
    if usage is None:
        return NanoUSD(0)
    return seat.price.cost(usage.input_tokens, min(usage.output_tokens, seat.max_output_tokens))


def _agree(first: Answer, second: Answer) -> bool:
    return (
        first.answer is not None
        and second.answer is not None
        and equal(first.answer, second.answer)
    )


def _record(
    run: Run, verdict: Accept | Escalate, before: list[str], *, agree: bool | None = None
) -> Route:
    route = Route.SINGLE if isinstance(verdict, Accept) else verdict.route
    run.decision = Decision(
        route=route,
        reason=verdict.reason,
        because=[*before, verdict.because],
        gate_version=gate.VERSION,
        opinion_bought=agree is not None,
        opinion_agrees=agree,
    )
    return route
