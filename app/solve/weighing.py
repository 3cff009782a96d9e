"""What the gate is shown of a run, and its verdicts: the learned rule's, or the untrained one's.

Everything shown is in the plan or in the journal, so that a replay, and a process that takes the
solve over, come to the same. Logprobs are in neither, and so are not shown. Whatever fails here
falls to the untrained rule, which says so; no request fails by its gate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import structlog

from app.gate import gate, learned
from app.gate.gate import Accept, BuyOpinion, Escalate, FirstAnswer, Route, Stakes
from app.gate.learned import Case, Judgement, Standing
from app.gate.signals import Form, Signals
from app.gate.stack import Stack
from app.gate.text import count_text
from app.gate.worth import Price
from app.money import NanoUSD
from app.providers.completion import FinishReason
from app.solve.charging import counted_tokens
from app.solve.plan import Plan, Seat, expected_cost
from app.solve.prompts import fresh
from app.solve.request import SolveRequest
from app.solve.run import Answer, Run

Verdict = Accept | BuyOpinion | Escalate

SEARCH_CALLS: Final = 3
"""That a search is expected to make: it ends at its first right answer."""

TAG: Final = "</answer>"
NOT_WEIGHED: Final = "the learned gate failed, so the untrained rule decided"
NO_WEIGHTS: Final = "the learned gate's weights are not here, so the untrained rule decided"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Said:
    """A verdict with its reasons; the figures are None where nothing learned was asked."""

    verdict: Verdict
    version: str
    p_single: float | None = None
    p_alternative: float | None = None
    gain: NanoUSD | None = None
    reasons: Sequence[str] = ()


def unasked(run: Run) -> Said:
    """Of a solve that its plan begins with the strong call."""
    plain = Escalate(Route.STRONG, learned.CHEAP_HOPELESS, "the cheap answer is hardly ever right")
    return _weighed(run, plain, lambda model, at: learned.unasked(model, at, case_of(run)))


def after_first(run: Run, first: Answer | None) -> Said:
    """On the first answer, None where its call failed."""
    seen = FirstAnswer(
        arrived=first is not None,
        well_formed=first is not None and first.well_formed,
        score=None if first is None else first.score,
    )
    plain = gate.after_first(seen, stakes_of(run, first))
    if first is None:
        return Said(plain, gate.VERSION)
    return _weighed(
        run,
        plain,
        lambda model, at: learned.after_first(
            model, at, signals_of(first), case_of(run, first), untrained=plain
        ),
    )


def after_second(run: Run, first: Answer, *, agree: bool | None) -> Said:
    """Once a second opinion was asked for; `agree` is None where its call failed."""
    plain = gate.after_second(agree=agree, stakes=stakes_of(run, first))
    return _weighed(
        run,
        plain,
        lambda model, at: learned.after_second(
            model, at, signals_of(first), case_of(run, first), agree=agree
        ),
    )


def signals_of(first: Answer) -> Signals:
    """What is observed of a first answer."""
    completion = first.reply.completion
    usage, text = completion.usage, completion.text
    return Signals(
        form=Form(
            first.answer,
            tagged=TAG in text[-len(TAG) - 64 :].lower(),
            truncated=completion.finish_reason is FinishReason.LENGTH,
        ),
        text=count_text(text, tokens=None if usage is None else usage.output_tokens),
        logprobs=None,
        prompt_tokens=None if usage is None else usage.input_tokens,
    )


def case_before(request: SolveRequest, plan: Plan) -> Case:
    """What is at stake before any call."""
    strong = inf if plan.strong is None else float(expected_cost(request, plan.strong))
    return Case(
        value=plan.value,
        strong=Price(strong),
        opinion=Price(float(expected_cost(request, plan.second))),
        search=Price(inf),
        wanted=request.gate.second_opinion,
        decisive=request.panel is not None and request.panel.is_decisive,
        risk_target=request.gate.risk_target,
    )


def case_of(run: Run, first: Answer | None = None) -> Case:
    """What is at stake now: every step as long as the first answer, and none beyond the cap."""
    if first is None:
        return case_before(run.request, run.plan)
    plan, panel = run.plan, run.request.panel
    left = NanoUSD(plan.cap - sum(answer.reply.cost for answer in run.answers))
    searching = [_step(run, seat, first, left) for seat in plan.searchers if panel is not None]
    within = [cost for cost in searching if cost < inf]
    search = SEARCH_CALLS * sum(within) / len(within) if within else inf
    return Case(
        value=plan.value,
        strong=Price(inf if plan.strong is None else _step(run, plan.strong, first, left)),
        opinion=Price(_step(run, plan.second, first, left)),
        search=Price(min(search, float(left)) if within else inf),
        wanted=run.request.gate.second_opinion,
        decisive=panel is not None and panel.is_decisive,
        risk_target=run.request.gate.risk_target,
    )


def stakes_of(run: Run, first: Answer | None) -> Stakes:
    """The same, in the words of the untrained rule."""
    panel = run.request.panel
    return Stakes(
        value=run.plan.value,
        opinion_cost=_usual(run.plan.second, first),
        strong_cost=NanoUSD(0) if run.plan.strong is None else _usual(run.plan.strong, first),
        second_opinion=run.request.gate.second_opinion,
        has_evaluator=panel is not None,
        decisive=panel is not None and panel.is_decisive,
        target_score=run.request.search.target_score,
    )


def pair_of(plan: Plan) -> str:
    """The arms that a plan's labels are about: its cheap expert and its strong one."""
    strong = "-" if plan.strong is None else plan.strong.expert.name
    return f"{plan.first.expert.name}>{strong}"


def _step(run: Run, seat: Seat, first: Answer, left: NanoUSD) -> float:
    messages = fresh(run.request, seat.expert)
    if seat.worst_case(messages) > left:
        return inf
    usage = first.reply.completion.usage
    if usage is not None:
        sent, written = usage.input_tokens, usage.output_tokens
    else:
        sent, written = counted_tokens(first.reply.completion, seat, messages)
    return float(seat.price.cost(sent, min(written, seat.max_output_tokens)))


def _usual(seat: Seat, first: Answer | None) -> NanoUSD:
    # As long as the first answer: the best guess before anything has been learned.
    usage = None if first is None else first.reply.completion.usage
    if usage is None:
        return NanoUSD(0)
    return seat.price.cost(usage.input_tokens, min(usage.output_tokens, seat.max_output_tokens))


def _weighed(run: Run, plain: Verdict, judge: Callable[[Stack, Standing], Judgement]) -> Said:
    standing = run.plan.gate
    if standing is None:
        return Said(plain, gate.VERSION)
    if run.model is None:
        return Said(plain, gate.VERSION, reasons=(NO_WEIGHTS,))
    try:
        found = judge(run.model, standing)
        return Said(
            found.verdict,
            standing.version,
            p_single=_chance(found.p_single),
            p_alternative=_chance(found.p_alternative),
            gain=NanoUSD(int(found.gain)),
            reasons=found.reasons,
        )
    except Exception:  # a gate that fails must not fail its request
        log.exception("gate_failed", solve_id=run.claim.solve_id, version=standing.version)
        return Said(plain, gate.VERSION, reasons=(NOT_WEIGHED,))


def _chance(chance: float) -> float:
    if not 0 <= chance <= 1:
        raise ValueError(f"{chance} is no chance")
    return round(chance, 4)
