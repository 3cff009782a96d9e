"""The request bodies: parsed here, once, into the values that the rest of the gateway uses.

Unknown fields are errors, so that a misspelt budget is refused and not ignored.
"""

import re
import secrets
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.answers.extract import Extract
from app.evaluators.specs import EVALUATORS_MAX, Combine, EvaluatorSpec, PanelSpec
from app.gate.gate import SecondOpinion
from app.money import NanoUSD, from_usd
from app.search.settings import Algorithm
from app.solve.notify import EVENT
from app.solve.request import (
    GateOptions,
    Limits,
    Mode,
    OnExhausted,
    OnLowConfidence,
    ParallelOptions,
    SearchOptions,
    SolveRequest,
    Turn,
    Webhook,
)

SEED_MAX = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""


SolveEvent = Literal["solve.completed", "solve.incomplete", "solve.failed", "solve.cancelled"]
EVENTS: Final[tuple[SolveEvent, ...]] = get_args(SolveEvent)

ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON writes it; an escaped backslash before it makes it six ordinary characters."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _positive_usd(text: str) -> str:
    if from_usd(text) <= 0:
        raise ValueError("must be more than nothing")
    return text


def _usd(text: str) -> str:
    if from_usd(text) < 0:
        raise ValueError("must not be negative")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


Usd = Annotated[
    str,
    Field(pattern=r"^\d{1,10}(\.\d{1,9})?$", examples=["0.10"]),
    AfterValidator(_usd),
]
PositiveUsd = Annotated[Usd, AfterValidator(_positive_usd)]


class TextPart(_Body):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class InputMessage(_Body):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1)] | Annotated[list[TextPart], Field(min_length=1)]

    def turn(self) -> Turn:
        """The turn with its parts joined."""
        if isinstance(self.content, str):
            return Turn(self.role, self.content)
        return Turn(self.role, "\n".join(part.text for part in self.content))


class GateBody(_Body):
    """How the gate decides."""

    value_usd: Usd | None = Field(
        None,
        description="V: what a wrong answer costs you. Default: your policy's. Given here, it also "
        "ends a search by `fathom` once no call left to make is worth its price: V times the "
        "chance that an answer then reaches `target_score`.",
    )
    second_opinion: SecondOpinion = Field(
        SecondOpinion.AUTO, description="When a second cheap answer is bought before deciding."
    )
    risk_target: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="The most that P(wrong) of an accepted answer may be. It only narrows what V "
        "would accept: an answer of a higher risk is confirmed or escalated where that makes it "
        "surer, at whatever price fits the budget.",
    )
    on_low_confidence: OnLowConfidence = Field(
        OnLowConfidence.RETURN,
        description="What becomes of an answer whose `confidence` is below your policy's "
        "`confidence_min` (0.5), or below 1 - `risk_target` where that is more. `return`: nothing. "
        "`flag`: `low_confidence` is true in the solve object. `fail`: the solve fails with the "
        "problem `low-confidence` (424); what it cost stays charged. Where nothing tells how sure "
        "an answer is, `confidence` is null and the answer is returned.",
    )


class SearchBody(_Body):
    """Bounds of a tree search."""

    algorithm: Algorithm = Field(
        Algorithm.FATHOM,
        description="How the next call is chosen. `fathom`: by expected improvement per dollar. "
        "`ab_mcts_a`, `ab_mcts_a_beta`, `ab_mcts_m`: adaptive branching as published "
        "(arXiv 2503.04412). The others, for comparison: `best_of_n` asks afresh each time, "
        "`refine` improves on the best, one call at a time, `mcts` is UCT, `best_first` refines "
        "the best that has room, and `tot_bfs` the best few, level by level.",
    )
    max_nodes: Annotated[int, Field(ge=1, le=512)] = 16
    max_depth: Annotated[int, Field(ge=1, le=64)] = 8
    concurrency: Annotated[int, Field(ge=1, le=32)] | None = Field(
        None, description="Calls in flight at once. Default: your policy's. 1 repeats exactly."
    )
    target_score: Annotated[float, Field(gt=0, le=1)] = 1.0
    patience: Annotated[int, Field(ge=1, le=512)] = Field(
        6, description="Stop after so many answers in a row without a better one."
    )
    score_value_usd: Usd | None = Field(
        None,
        description="What a whole point of score is worth to you: the search stops once nothing "
        "left to try is worth its price (`fathom` and `best_of_n`). Default: no price stops it.",
    )

    def options(self) -> SearchOptions:
        """The same, in the words of the core."""
        return SearchOptions(
            algorithm=self.algorithm,
            max_nodes=self.max_nodes,
            max_depth=self.max_depth,
            concurrency=self.concurrency,
            target_score=self.target_score,
            patience=self.patience,
            score_value=_nano(self.score_value_usd),
        )


class ParallelBody(_Body):
    """Drafts written independently, then passes of as many answers that have read all drafts.

    The experts take turns, as many at once as `search.concurrency` says. The answer is what most
    answers of the last pass say, or the best by your evaluators where there are any. Models whose
    answers are recorded choose among the drafts instead of answering anew.
    """

    k: Annotated[int, Field(ge=1, le=32)] = Field(8, description="How many drafts.")
    passes: Annotated[int, Field(ge=0, le=4)] = Field(
        2, description="How often they are read and answered anew, `k` times each; 0 only votes."
    )
    adaptive: bool = Field(
        default=True,
        description="Stop early at agreement: once the share of the leading answer is more than a "
        "half with `confidence`. With a verifier among the evaluators, once an answer reaches "
        "`search.target_score` instead.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95,
        description="Under a uniform prior: four answers alike, and no other, are 0.969 sure; it "
        "is about the vote, and not about being right.",
    )

    def options(self) -> ParallelOptions:
        """The same, in the words of the core."""
        return ParallelOptions(self.k, self.passes, self.adaptive, self.confidence)


class BudgetBody(_Body):
    """Hard bounds of this solve; the least of these, the key's and the tenant's counts."""

    max_cost_usd: PositiveUsd | None = None
    max_total_tokens: Annotated[int, Field(ge=1)] | None = None
    max_calls: Annotated[int, Field(ge=1)] | None = None
    deadline_ms: Annotated[int, Field(ge=1, le=600_000)] | None = None
    on_exhausted: OnExhausted = OnExhausted.RETURN_BEST

    def limits(self) -> Limits:
        """The same, in the words of the core."""
        return Limits(
            max_cost=_nano(self.max_cost_usd),
            max_total_tokens=self.max_total_tokens,
            max_calls=self.max_calls,
            deadline_ms=self.deadline_ms,
            on_exhausted=self.on_exhausted,
        )


class WebhookBody(_Body):
    """Where to tell that the solve has ended: its id, status and cost, and never a text.

    The request is signed by the Standard Webhooks specification, with a secret that your operator
    gives you, and sent until it is answered with 2xx, for about a day. It may come twice: the
    header `webhook-id` tells.
    """

    url: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="A public https:// address at port 443.",
        examples=["https://hooks.example.com/fathom"],
    )
    events: Annotated[list[SolveEvent], Field(min_length=1, max_length=4)] = Field(
        default_factory=lambda: list(EVENTS), description="Of which ends to tell. Default: any."
    )

    def webhook(self) -> Webhook:
        """The same, in the words of the core."""
        ends = dict.fromkeys(event.removeprefix(EVENT) for event in self.events)
        return Webhook(self.url, tuple(ends))


class AnswerBody(_Body):
    """How the answer is found in the text."""

    extract: Extract | None = None


Session = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class SolveBody(_Body):
    """A problem, optionally with evaluators that can score an answer."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "input": "What is 17 * 23? Answer with the number only.",
                    "evaluators": [{"type": "exact", "config": {"expected": "391"}}],
                    "budget": {"max_cost_usd": "0.05"},
                },
                {
                    "input": "What is 17 * 23? Answer with the number only.",
                    "mode": "parallel",
                    "parallel": {"k": 8, "passes": 1},
                    "budget": {"max_cost_usd": "0.20"},
                },
            ]
        },
    )

    input: Annotated[str, Field(min_length=1)] | Annotated[list[InputMessage], Field(min_length=1)]
    instructions: str | None = None
    mode: Mode = Field(
        Mode.AUTO,
        description="`auto`: the gate decides. `single`: one call. `search`: a tree search, which "
        "needs an evaluator. `parallel`: drafts, then passes that read them.",
    )
    experts: Annotated[list[str], Field(min_length=1, max_length=32)] | None = None
    gate: GateBody | None = None
    search: SearchBody | None = None
    parallel: ParallelBody | None = None
    evaluators: Annotated[list[EvaluatorSpec], Field(max_length=EVALUATORS_MAX)] = Field(
        default_factory=list[EvaluatorSpec]
    )
    combine: Combine = Combine.WEIGHTED
    budget: BudgetBody = Field(default_factory=BudgetBody)
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)] | None = None
    store: bool = True
    background: bool = Field(
        default=False,
        description="Answer at once with 202 and where to read the solve, and run it whether or "
        "not you stay connected. Needs an `Idempotency-Key`.",
    )
    webhook: WebhookBody | None = None
    include: list[Literal["candidates"]] = Field(default_factory=list[Literal["candidates"]])
    answer: AnswerBody = Field(default_factory=AnswerBody)
    session: Session | None = Field(
        None,
        description="Your name for solves that belong together: they share one cap, where your "
        "operator has set one for each session.",
    )
    metadata: Metadata = Field(default_factory=dict[MetadataKey, MetadataValue])

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if ESCAPED_NUL.search(self.model_dump_json()):
            raise ValueError("a text holds the character NUL, which no database can keep")
        return self

    @model_validator(mode="after")
    def _ends_with_the_user(self) -> Self:
        if not isinstance(self.input, str) and self.input[-1].role != "user":
            raise ValueError("input: the last message must be the user's")
        if self.experts is not None and len(set(self.experts)) != len(self.experts):
            raise ValueError("experts: one is named twice")
        return self

    @model_validator(mode="after")
    def _can_be_read_later(self) -> Self:
        if self.background and not self.store:
            raise ValueError("store: what runs in the background must be kept to be read")
        return self

    def to_request(self) -> SolveRequest:
        """The request as the solver takes it; a seed is drawn where none is given."""
        return SolveRequest(
            turns=self._turns(),
            seed=secrets.randbelow(SEED_MAX) if self.seed is None else self.seed,
            instructions=self.instructions,
            mode=self.mode,
            experts=None if self.experts is None else tuple(self.experts),
            gate=self._gate(),
            search=SearchOptions() if self.search is None else self.search.options(),
            parallel=ParallelOptions() if self.parallel is None else self.parallel.options(),
            panel=self._panel(),
            limits=self.budget.limits(),
            max_output_tokens=self.max_output_tokens,
            temperature=self.temperature,
            extract=self.answer.extract,
            store=self.store,
            background=self.background,
            session=self.session,
            webhook=None if self.webhook is None else self.webhook.webhook(),
            metadata=self.metadata,
        )

    def _turns(self) -> tuple[Turn, ...]:
        if isinstance(self.input, str):
            return (Turn("user", self.input),)
        return tuple(message.turn() for message in self.input)

    def _gate(self) -> GateOptions:
        if self.gate is None:
            return GateOptions()
        return GateOptions(
            value=_nano(self.gate.value_usd),
            second_opinion=self.gate.second_opinion,
            risk_target=self.gate.risk_target,
            on_low_confidence=self.gate.on_low_confidence,
        )

    def _panel(self) -> PanelSpec | None:
        if not self.evaluators:
            return None
        return PanelSpec(evaluators=tuple(self.evaluators), combine=self.combine)


def _nano(text: str | None) -> NanoUSD | None:
    return None if text is None else from_usd(text)
