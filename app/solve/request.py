"""A solve as it was asked for: parsed, bounded, and free of anything about HTTP.

Frozen values that convert to a JSON document and back without loss, so that a run can start again
from what was stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

from app.answers.extract import Extract
from app.evaluators.specs import PanelSpec
from app.gate.gate import SecondOpinion
from app.money import NanoUSD
from app.search.settings import Algorithm

OUTPUT_TOKENS_DEFAULT: Final = 4096

CATEGORY: Final = "category"
"""The key of a request's metadata that names its category."""


class Mode(StrEnum):
    """Who decides how deep to think: the gate, or the caller."""

    AUTO = "auto"
    SINGLE = "single"
    SEARCH = "search"
    PARALLEL = "parallel"


class OnExhausted(StrEnum):
    """What a budget that ends a solve early makes of the best answer so far."""

    RETURN_BEST = "return_best"
    FAIL = "fail"


class OnLowConfidence(StrEnum):
    """What becomes of an answer that is less likely right than `Plan.confidence_min`."""

    RETURN = "return"
    FLAG = "flag"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the problem's conversation."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class GateOptions:
    """`value` is V, the price of a wrong answer; None takes the policy's.

    `risk_target` is the most that P(wrong) of an accepted answer may be; None leaves it to V.
    """

    value: NanoUSD | None = None
    second_opinion: SecondOpinion = SecondOpinion.AUTO
    risk_target: float | None = None
    on_low_confidence: OnLowConfidence = OnLowConfidence.RETURN


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Bounds of a tree search; `concurrency` None takes the policy's.

    `score_value` is what a whole point of score is worth, None if no price is to stop the search.
    """

    algorithm: Algorithm = Algorithm.FATHOM
    max_nodes: int = 16
    max_depth: int = 8
    concurrency: int | None = None
    target_score: float = 1.0
    patience: int = 6
    score_value: NanoUSD | None = None


@dataclass(frozen=True, slots=True)
class ParallelOptions:
    """`k` drafts and as many answers in each of `passes`; `adaptive`, they end at agreement.

    `confidence` is that of `agreement.majority`. How many are asked at once the search's
    `concurrency` says, and at which score a verified answer ends it the search's `target_score`.
    """

    k: int = 8
    passes: int = 2
    adaptive: bool = True
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Limits:
    """The caller's own bounds; None leaves the policy's or none."""

    max_cost: NanoUSD | None = None
    max_total_tokens: int | None = None
    max_calls: int | None = None
    deadline_ms: int | None = None
    on_exhausted: OnExhausted = OnExhausted.RETURN_BEST


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the end of a solve is told, and which ends are: statuses of `report.Status`."""

    url: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """Everything a run needs to know of what the caller wants. `seed` fixes every draw.

    In the `background` nobody waits at the end of a connection: the answer is fetched later.
    Solves of one `session` share its cap, where the tenant has one.
    """

    turns: tuple[Turn, ...]
    seed: int
    instructions: str | None = None
    mode: Mode = Mode.AUTO
    experts: tuple[str, ...] | None = None
    gate: GateOptions = field(default_factory=GateOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    parallel: ParallelOptions = field(default_factory=ParallelOptions)
    panel: PanelSpec | None = None
    limits: Limits = field(default_factory=Limits)
    max_output_tokens: int | None = None
    temperature: float | None = None
    extract: Extract | None = None
    store: bool = True
    background: bool = False
    session: str | None = None
    webhook: Webhook | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def problem(self) -> str:
        """The caller's own words: what recorded answers are keyed by and evaluators are shown."""
        return self.turns[-1].text


def to_document(value: object) -> dict[str, Any]:
    """A JSON document of a request, a plan or a result."""
    document: dict[str, Any] = msgspec.to_builtins(value, enc_hook=_encode)
    return document


def request_from(document: Mapping[str, Any]) -> SolveRequest:
    """The request that `to_document` was given."""
    return msgspec.convert(document, SolveRequest, dec_hook=_decode)


def _encode(value: object) -> object:
    if isinstance(value, PanelSpec):
        return value.model_dump(mode="json")
    raise NotImplementedError(type(value))


def _decode(kind: type, value: object) -> object:
    if kind is PanelSpec:
        return PanelSpec.model_validate(value)
    raise NotImplementedError(kind)
