"""How a run ended, and what its caller is told: pure assembly of what the run left behind."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.db.texts import storable
from app.errors import GatewayError
from app.gate.gate import Route
from app.ledger.journal import text_name
from app.ledger.refusals import BudgetExceeded, LimitReached
from app.money import NanoUSD
from app.providers.completion import FinishReason
from app.search.search import Search
from app.search.tree import ROOT
from app.search.trial import StopReason
from app.solve.attempt import FIRST, CallFailed
from app.solve.choosing import confidence, is_low
from app.solve.deliberation import Deliberation
from app.solve.plan import Plan, Seat
from app.solve.report import (
    DecisionFacts,
    ErrorFacts,
    EvaluationFacts,
    EvaluationItem,
    LineageFacts,
    ParallelFacts,
    SearchFacts,
    Solved,
    Status,
    TimingFacts,
    shortage_of,
)
from app.solve.request import OnExhausted, OnLowConfidence
from app.solve.run import Answer, Run

ANSWER: str = "answer"
"""The name of the text that a solve returned."""


class LowConfidence(GatewayError):
    """The answer is less likely right than the caller wants to be told one."""

    def __init__(self, confidence: float, least: float) -> None:
        super().__init__(
            f"the answer is right with a probability of {confidence:.4g}, below {least:.4g}"
        )
        self.confidence, self.least = confidence, least


class DeadlineWithoutAnswer(GatewayError):
    """The time was up before any answer had arrived."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a run ended.

    `incomplete` is the reason shown when it ended early, `error` the one without any answer.
    """

    stop_reason: str | None
    incomplete: str | None = None
    error: GatewayError | None = None
    cancelled: bool = False


class InternalError(GatewayError):
    """A fault of the gateway; what was spent is settled all the same."""


DONE = Cause("single")
BROKEN = Cause(
    None, "internal_error", InternalError("the gateway failed; its operator can see why")
)
CANCELLED = Cause("cancelled", cancelled=True)
DEADLINE = Cause("deadline", "deadline", DeadlineWithoutAnswer("the deadline passed first"))


def refused(refusal: BudgetExceeded | LimitReached) -> Cause:
    """A budget had no room for the next call."""
    return Cause("budget", "budget_exhausted", refusal)


def upstream(failure: CallFailed) -> Cause:
    """No provider gave an answer."""
    return Cause(None, "upstream_degraded", failure.last)


def out_of_time(run: Run) -> Cause:
    """The deadline came: too late to matter to a search at its target, with calls in flight."""
    best = run.best
    score = None if run.search is None or best is None else best.score
    reached = score is not None and score >= run.request.search.target_score
    return Cause(StopReason.TARGET_SCORE) if reached else DEADLINE


def searched(ended: StopReason | BudgetExceeded | LimitReached) -> Cause:
    """A search or a deliberation ended by itself or by its budget."""
    match ended:
        case BudgetExceeded() | LimitReached():
            return refused(ended)
        case StopReason.MAX_NODES:
            return Cause(ended, "max_nodes")
        case StopReason.EXPERTS_FAILED:
            return Cause(ended, "upstream_degraded")
        case (
            StopReason.TARGET_SCORE
            | StopReason.PATIENCE
            | StopReason.VALUE
            | StopReason.EXHAUSTED
            | StopReason.AGREEMENT
            | StopReason.PASSES
        ):
            return Cause(ended)


def conclude(run: Run, cause: Cause) -> tuple[Solved, Mapping[str, str]]:
    """The result, and the texts to keep beside it."""
    best = run.best
    sure = confidence(run, best)
    low = is_low(run, sure)
    cause = replace(cause, error=_by_name(run.plan, cause.error))
    status, incomplete = _status(run, cause, best)
    wanted = run.request.gate.on_low_confidence
    if low and wanted is OnLowConfidence.FAIL and status in (Status.COMPLETED, Status.INCOMPLETE):
        assert sure is not None, "what is not known is not low"
        status, incomplete = Status.FAILED, None
        cause = replace(cause, error=LowConfidence(sure, run.plan.confidence_min))
    failed = status is Status.FAILED and cause.error is not None
    ended_at_s = time.time()
    solved = Solved(
        id=run.claim.solve_id,
        created_at=int(run.started_at_s),
        completed_at=int(ended_at_s),
        status=status,
        incomplete_reason=incomplete,
        error=_error(cause.error) if failed else None,
        stop_reason=cause.stop_reason,
        decision=_decision(run),
        confidence=sure,
        low_confidence=None if wanted is OnLowConfidence.RETURN else low,
        search=_search(run, run.search, best) if isinstance(run.search, Search) else None,
        parallel=_parallel(run, run.search) if isinstance(run.search, Deliberation) else None,
        evaluation=_evaluation(run, best),
        calls=tuple(run.attempts.lines),
        cap=run.plan.cap,
        limited_by=_limited_by(run.plan, cause),
        single_baseline=_single_baseline(run),
        strong_baseline=_strong_baseline(run),
        timing=TimingFacts(run.gate_ms, run.search_ms, (ended_at_s - run.started_at_s) * 1000),
        lineage=_lineage(run, best),
        metadata=run.request.metadata,
        resumed_from=None if run.legacy is None else run.legacy.solve_id,
    )
    # Who wants no answer that is not sure is not given one.
    refused = isinstance(cause.error, LowConfidence)
    return solved, {} if best is None or refused else {ANSWER: best.text}


def texts_told(run: Run, kept: Mapping[str, str]) -> Mapping[str, str]:
    """What the response may say, kept or not: those texts, and what each call returned."""
    replies = run.attempts.replies.values()
    return {text_name(reply.op): storable(reply.completion.text) for reply in replies} | dict(kept)


def _status(run: Run, cause: Cause, best: Answer | None) -> tuple[Status, str | None]:
    if cause.cancelled:
        return Status.CANCELLED, None
    exhausted = cause.incomplete == "budget_exhausted"
    if best is None or (exhausted and run.request.limits.on_exhausted is OnExhausted.FAIL):
        return Status.FAILED, None
    if cause.incomplete is not None:
        return Status.INCOMPLETE, cause.incomplete
    if best.reply.completion.finish_reason is FinishReason.LENGTH:
        return Status.INCOMPLETE, "max_output_tokens"
    return Status.COMPLETED, None


def _error(error: GatewayError | None) -> ErrorFacts | None:
    if error is None:
        return None
    return ErrorFacts(type(error).__name__, str(error), shortage_of(error))


def _by_name(plan: Plan, error: GatewayError | None) -> GatewayError | None:
    # What ran into the cap ran into the budget that set it.
    if isinstance(error, BudgetExceeded) and error.scope == "request":
        return BudgetExceeded(plan.capped_by, error.asked, error.available, plan.resets_at_s)
    return error


def _limited_by(plan: Plan, cause: Cause) -> str:
    # The bound that ended it; where none did, the cap is the nearest.
    match cause.error:
        case BudgetExceeded(scope=scope):
            return scope
        case LimitReached(limit=limit):
            return limit
        case _:
            return plan.capped_by


def _decision(run: Run) -> DecisionFacts | None:
    made = run.decision
    if made is None:
        return None
    return DecisionFacts(
        route=made.route,
        reason=made.reason,
        because=tuple(made.because),
        gate_version=made.gate_version,
        opinion_bought=made.opinion_bought,
        opinion_agrees=made.opinion_agrees,
        p_single=made.p_single,
        p_alternative=made.p_alternative,
        gain=made.gain,
        propensity=made.propensity,
        certificate=made.certificate,
    )


def _evaluation(run: Run, best: Answer | None) -> EvaluationFacts | None:
    if best is None or best.evaluation is None or run.request.panel is None:
        return None
    made = best.evaluation
    items = tuple(
        EvaluationItem(said.id, said.type, said.score, said.ms, said.error) for said in made.items
    )
    return EvaluationFacts(made.score, made.passed, run.request.panel.combine, items)


def _search(run: Run, search: Search, answer: Answer | None) -> SearchFacts:
    inherited = 0 if run.legacy is None else len(run.legacy.replies)
    asked = [node for node in search.nodes[inherited:] if node.trial_id is not None]
    fresh = sum(node.parent == ROOT for node in asked)
    # Of several best ones, that which is returned.
    best = search.best if answer is None or answer.node is None else answer.node
    return SearchFacts(
        algorithm=run.request.search.algorithm,
        nodes=len(search.nodes),
        max_depth=max((node.depth for node in search.nodes), default=0),
        best_node=best,
        best_score=None if best is None else search.nodes[best - 1].score,
        fresh=fresh,
        refine=len(asked) - fresh,
        failed=sum(line.state == "failed" for line in run.attempts.lines),
        resumed=inherited,
    )


def _parallel(run: Run, made: Deliberation) -> ParallelFacts:
    vote = made.vote_of(made.last_round)
    return ParallelFacts(
        drafts=sum(node.depth == 1 for node in made.nodes),
        passes=made.last_round,
        answers=len(made.nodes),
        leading=vote.leading,
        votes=vote.votes,
        agreement=vote.majority,
        failed=sum(line.state == "failed" for line in run.attempts.lines),
    )


def _lineage(run: Run, best: Answer | None) -> LineageFacts:
    if best is None or best.node is None or run.search is None:
        seat = None if best is None else best.reply.seat
        return LineageFacts((), _names([] if seat is None else [seat]), _op(best), run.request.seed)
    if isinstance(run.search, Deliberation):
        # What it was made from is many nodes, of which none is the one before it.
        made_by = _names([best.reply.seat])
        return LineageFacts((ROOT, best.node), made_by, _op(best), run.request.seed)
    path: list[int] = []
    node = best.node
    while node != ROOT:
        path.append(node)
        node = run.search.nodes[node - 1].parent
    path.reverse()
    seats = {answer.node: answer.reply.seat for answer in run.answers}
    return LineageFacts(
        (ROOT, *path), _names([seats[step] for step in path]), _op(best), run.request.seed
    )


def _names(seats: list[Seat]) -> tuple[str, ...]:
    return tuple(f"{seat.expert.name}@{seat.expert.version}" for seat in seats)


def _op(best: Answer | None) -> str | None:
    return None if best is None else best.reply.op


def _single_baseline(run: Run) -> NanoUSD | None:
    lines = [line for line in run.attempts.lines if line.op == FIRST]
    return NanoUSD(sum(line.cost for line in lines)) if lines else None


def _strong_baseline(run: Run) -> NanoUSD | None:
    # What one strong call of the first answer's length would have cost.
    strong = run.plan.strong
    first = next((a for a in run.answers if a.reply.op == FIRST), None)
    usage = None if first is None else first.reply.completion.usage
    if strong is None or usage is None or (run.decision and run.decision.route is Route.STRONG):
        lines = [line.cost for line in run.attempts.lines if line.op == "strong"]
        return NanoUSD(sum(lines)) if lines else None
    return strong.price.cost(usage.input_tokens, usage.output_tokens)
