"""Counts an ended solve and writes its line in the log: facts go out here, and no text does."""

from typing import Final

import structlog

from app.ids import TenantId
from app.solve.attempt import FIRST, CallLine
from app.solve.deliberation import DRAFT, PASS
from app.solve.report import DecisionFacts, EvaluationFacts, Solved
from app.telemetry.metrics import (
    CALL_PHASES,
    CALL_STATES,
    NONE,
    REASONS,
    ROUTES,
    Metrics,
    known,
    usd,
)

FORCED: Final = "forced"
JUDGE_MARK: Final = ".judge."

log = structlog.get_logger()


class Tally:
    """Tells the operator what solves came to."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def solved(self, solved: Solved, *, tenant_id: TenantId) -> None:
        """Count a solve that has just ended, once."""
        made = solved.decision
        route = NONE if made is None else known(made.route, ROUTES)
        tenant = self._metrics.tenant(tenant_id)
        self._count(solved, route, tenant)
        self._count_decision(solved, made, route)
        for line in solved.calls:
            self._count_call(line, tenant)
        log.info(
            "solve",
            solve_id=solved.id,
            tenant_id=tenant_id,
            status=solved.status,
            route=route,
            reason=NONE if made is None else made.reason,
            stop_reason=solved.stop_reason,
            cost_nano=solved.spent,
            calls=len(solved.calls),
            ms=round(solved.timing.total_ms, 1),
        )

    def _count(self, solved: Solved, route: str, tenant: str) -> None:
        metrics, timing = self._metrics, solved.timing
        metrics.solves.labels(route, solved.status, tenant).inc()
        metrics.solve_cost_usd.labels(route, tenant).inc(usd(solved.spent))
        metrics.solve_seconds.labels(route).observe(timing.total_ms / 1000)
        for phase, ms in (("gate", timing.gate_ms), ("search", timing.search_ms)):
            if ms is not None:
                metrics.phase_seconds.labels(phase).observe(ms / 1000)
        score = _score(solved.evaluation)
        if score is not None:
            labels = (route, tenant, metrics.expert(_answerer(solved)))
            metrics.scored.labels(*labels).inc()
            metrics.scored_cost_usd.labels(*labels).inc(usd(solved.spent))
            metrics.score.labels(*labels).inc(score)
            metrics.right.labels(*labels).inc(_is_right(solved.evaluation))

    def _count_decision(self, solved: Solved, made: DecisionFacts | None, route: str) -> None:
        metrics = self._metrics
        reason = NONE if made is None else known(made.reason, REASONS)
        metrics.gate_decisions.labels(route, reason).inc()
        metrics.gate_cost_usd.labels(route, reason).inc(usd(solved.spent))
        if _score(solved.evaluation) is not None:
            metrics.gate_scored.labels(route, reason).inc()
            metrics.gate_scored_cost_usd.labels(route, reason).inc(usd(solved.spent))
            metrics.gate_right.labels(route, reason).inc(_is_right(solved.evaluation))
        if reason in {FORCED, NONE}:
            # What a caller chose saves or costs nothing that could be put to the gate's account.
            return
        baselines = (("single", solved.single_baseline), ("strong", solved.strong_baseline))
        for baseline, cost in baselines:
            if cost is not None:
                metrics.baseline_usd.labels(baseline, route).inc(usd(cost))
                metrics.baseline_actual_usd.labels(baseline, route).inc(usd(solved.spent))

    def _count_call(self, line: CallLine, tenant: str) -> None:
        metrics, expert, phase = self._metrics, self._metrics.expert(line.expert), phase_of(line.op)
        metrics.calls.labels(expert, phase, known(line.state, CALL_STATES)).inc()
        metrics.cost_usd.labels(expert, phase, tenant).inc(usd(line.cost))
        metrics.tokens.labels(expert, phase, "input").inc(line.input_tokens or 0)
        metrics.tokens.labels(expert, phase, "output").inc(line.output_tokens or 0)


def phase_of(op: str) -> str:
    """What a call of this op was for; one of CALL_PHASES, or `other`."""
    if JUDGE_MARK in op:
        return "judge"
    if op.startswith("t") and op[1:].isdigit():
        return "search"
    for mark in (DRAFT, PASS):
        if op.startswith(mark):
            return mark.removesuffix(".")
    return known({FIRST: "first", "gate.second": "opinion"}.get(op, op), CALL_PHASES)


def _answerer(solved: Solved) -> str:
    # The last on the path to the answer is the one that gave it: `name@version`.
    experts = solved.lineage.experts
    return experts[-1].rpartition("@")[0] if experts else NONE


def _score(evaluation: EvaluationFacts | None) -> float | None:
    return None if evaluation is None else evaluation.score


def _is_right(evaluation: EvaluationFacts | None) -> bool:
    return evaluation is not None and evaluation.passed is True
