"""Finished solves to be counted: the facts that matter, and plausible others."""

from app.gate.gate import Route
from app.ledger.postings import CallState
from app.money import NanoUSD
from app.solve.attempt import CallLine
from app.solve.report import (
    DecisionFacts,
    EvaluationFacts,
    LineageFacts,
    Solved,
    Status,
    TimingFacts,
)
from app.telemetry.metrics import Metrics

EXPERTS = ("cheap", "strong")


def metrics(*tenants: str) -> Metrics:
    """Metrics of a gateway with two experts, and these tenants apart."""
    return Metrics(version="1.2.3", experts=EXPERTS, tenants=tenants)


def series(metrics: Metrics) -> dict[str, float]:
    """Every series as it is rendered, and its value."""
    lines = metrics.render().decode().splitlines()
    told = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in told}


def line(op: str = "gate.first", *, expert: str = "cheap", cost: int = 1_000_000) -> CallLine:
    """A call that was answered."""
    return CallLine(
        op=op,
        attempt=1,
        expert=expert,
        expert_version="00000000",
        model=f"{expert}-1",
        price_version="prc_0000000000000000",
        state=CallState.OK,
        cost=NanoUSD(cost),
        estimated=False,
        input_tokens=100,
        output_tokens=10,
    )


def solved(
    *calls: CallLine,
    decision: DecisionFacts | None = None,
    score: float | None = None,
    passed: bool | None = None,
    answered_by: str = "cheap",
    strong_baseline: NanoUSD | None = None,
) -> Solved:
    """A completed solve."""
    evaluation = None if score is None else EvaluationFacts(score, passed, "weighted", ())
    return Solved(
        id="slv_1",
        created_at=1_795_250_000,
        completed_at=1_795_250_001,
        status=Status.COMPLETED,
        incomplete_reason=None,
        error=None,
        stop_reason="single",
        decision=decision,
        confidence=None,
        search=None,
        evaluation=evaluation,
        calls=calls,
        cap=NanoUSD(100_000_000),
        limited_by="request",
        single_baseline=None,
        strong_baseline=strong_baseline,
        timing=TimingFacts(gate_ms=30.0, search_ms=None, total_ms=40.0),
        lineage=LineageFacts((), (f"{answered_by}@00000000",), "gate.first", seed=1),
        metadata={},
    )


def decided(route: Route, reason: str) -> DecisionFacts:
    """What the gate, or the caller, decided."""
    return DecisionFacts(route, reason, (), "day0", opinion_bought=False, opinion_agrees=None)
