"""How a solve ended, as facts: what the API shows, what is stored, and what a replay compares.

Everything but the texts, which are kept apart. Amounts are nano-dollars, times are Unix seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec

from app.errors import GatewayError
from app.gate.audited import Certified
from app.gate.gate import Route
from app.ledger.refusals import BudgetExceeded, LadderReached, LimitReached, RateLimited
from app.money import NanoUSD
from app.solve.attempt import CallLine


class Status(StrEnum):
    """The last state of a solve; `incomplete` carries the best answer so far."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ShortageFacts:
    """The bound that had no room, by its scope; amounts are None where it does not count money."""

    scope: str
    asked: NanoUSD | None = None
    available: NanoUSD | None = None
    resets_at_s: int | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """The refusal that left a solve without an answer: its kind, and its message until erased."""

    kind: str
    detail: str | None
    shortage: ShortageFacts | None = None


@dataclass(frozen=True, slots=True)
class DecisionFacts:
    """What the gate decided and why; what only learned weights can tell is None without them."""

    route: Route
    reason: str
    because: tuple[str, ...]
    gate_version: str | None
    opinion_bought: bool
    opinion_agrees: bool | None
    p_single: float | None = None
    p_alternative: float | None = None
    gain: NanoUSD | None = None
    propensity: float = 1.0
    certificate: Certified | None = None


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """The tree in figures; calls are counted by what they were for, `resumed` ones apart."""

    algorithm: str
    nodes: int
    max_depth: int
    best_node: int | None
    best_score: float | None
    fresh: int
    refine: int
    failed: int
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class ParallelFacts:
    """A deliberation in figures: its drafts, its passes begun, and all answers of both.

    Of the `votes` of the latest round, readable or not, `leading` say the same; `agreement` is the
    probability that most further answers would (see `agreement.majority`), not that they are right.
    """

    drafts: int
    passes: int
    answers: int
    leading: int
    votes: int
    agreement: float
    failed: int


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """One evaluator's score of the answer that was returned; what it said of it is a text."""

    id: str
    type: str
    score: float | None
    ms: float
    error: str | None


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """What the evaluators made of the answer that was returned."""

    score: float | None
    passed: bool | None
    combine: str
    items: tuple[EvaluationItem, ...]


@dataclass(frozen=True, slots=True)
class LineageFacts:
    """Where the answer came from: its node's path from the root, and each node's expert."""

    path: tuple[int, ...]
    experts: tuple[str, ...]
    op: str | None
    seed: int


@dataclass(frozen=True, slots=True)
class TimingFacts:
    """Milliseconds of each phase; None for a phase that did not happen."""

    gate_ms: float | None
    search_ms: float | None
    total_ms: float


@dataclass(frozen=True, slots=True)
class Solved:
    """The result of one solve. `resumed_from` is the solve whose tree it went on with.

    `replay_of` is the one that it repeated, and `replayed` what that one's calls had come to.
    `low_confidence` is None where that was not asked, or nothing tells.
    """

    id: str
    created_at: int
    completed_at: int
    status: Status
    incomplete_reason: str | None
    error: ErrorFacts | None
    stop_reason: str | None
    decision: DecisionFacts | None
    confidence: float | None
    search: SearchFacts | None
    evaluation: EvaluationFacts | None
    calls: tuple[CallLine, ...]
    cap: NanoUSD
    limited_by: str
    single_baseline: NanoUSD | None
    strong_baseline: NanoUSD | None
    timing: TimingFacts
    lineage: LineageFacts
    metadata: Mapping[str, str]
    resumed_from: str | None = None
    replay_of: str | None = None
    replayed: tuple[CallLine, ...] = ()
    parallel: ParallelFacts | None = None
    low_confidence: bool | None = None

    @property
    def spent(self) -> NanoUSD:
        """What the solve cost its tenant."""
        return NanoUSD(sum(line.cost for line in self.calls))


def without_texts(solved: Solved) -> Solved:
    """The result as it is kept once its texts are gone: a vendor's error may quote the prompt."""
    error = None if solved.error is None else replace(solved.error, detail=None)
    calls, replayed = (
        tuple(replace(line, error=None) for line in lines)
        for lines in (solved.calls, solved.replayed)
    )
    return replace(solved, error=error, calls=calls, replayed=replayed)


def document_without_texts(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a result as it was stored, by whichever version."""
    error, scrubbed = document.get("error"), dict(document)
    if error is not None:
        scrubbed["error"] = {**error, "detail": None}
    for name in ("calls", "replayed"):
        if (lines := document.get(name)) is not None:
            scrubbed[name] = [{**line, "error": None} for line in lines]
    return scrubbed


def shortage_of(error: GatewayError) -> ShortageFacts | None:
    """What a refusal by a budget or a limit says of it; None for any other error."""
    match error:
        case BudgetExceeded():
            return ShortageFacts(error.scope, error.asked, error.available, error.resets_at_s)
        case LadderReached():
            return ShortageFacts(error.scope, resets_at_s=error.resets_at_s)
        case RateLimited():
            return ShortageFacts(error.scope, limit=error.limit)
        case LimitReached():
            return ShortageFacts(error.limit)
        case _:
            return None


def solved_from(document: Mapping[str, Any]) -> Solved:
    """The result that `to_document` was given."""
    return msgspec.convert(document, Solved)
