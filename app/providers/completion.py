"""The seam between Fathom and everything that can answer: one method, and the values it trades in.

A provider speaks one vendor's wire format and nothing else. It never repeats a request whose bytes
may have left (the one retry loop is `solve/attempt`), never knows a tenant, and never knows money.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from app.errors import GatewayError


class FinishReason(StrEnum):
    """Why the provider stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation sent upstream."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An earlier answer that a call asks a model to read; `said` is None if it is unreadable.

    Equal answers have equal `said`.
    """

    text: str
    said: str | None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One upstream call, with all that a provider may need to make it.

    `problem` is the caller's own text before any template: recorded answers are keyed by it.
    `op` names the call within its solve (`gate.first`, `t3`) and `seed` fixes the draw, so that a
    provider which replays records can answer by (seed, problem, op) whatever the order of calls.
    `parameters` are the expert's own, in the provider's terms (top_p, reasoning_effort, …).
    `traceparent` names this call's span (W3C Trace Context), to be told to whoever is called.
    `drafts` are earlier answers that the messages hold, for who cannot read them.
    """

    model: str
    messages: Sequence[Message]
    max_output_tokens: int
    problem: str
    op: str
    seed: int
    temperature: float | None = None
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    traceparent: str | None = None
    drafts: Sequence[Draft] = ()


def call_seed(request: CompletionRequest) -> int:
    """31 bits (the least that servers take) fixed by the solve's seed and the op.

    The solve's seed as it is would make every sample of one prompt the same sample.
    """
    digest = hashlib.blake2b(f"{request.seed}:{request.op}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens the provider says it used; `output_tokens` includes reasoning.

    `cached_tokens` of the input were read from the provider's prompt cache, `reasoning_tokens` of
    the output were not shown; None where it does not say, which is not zero.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token of the answer was, beside the likeliest ones in its place.

    Natural logarithms, at most 0. `top` is as long as was asked for and may hold the token itself.
    """

    token: str
    logprob: float
    top: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back. `usage` is None when the provider reported none; never an invented number.

    A model that declines answers with the text of its refusal and the reason CONTENT_FILTER.
    `logprobs` are there when the provider was asked for them and sent them.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage | None
    returned_model: str
    provider_request_id: str | None = None
    logprobs: Sequence[TokenLogprob] | None = None


class ProviderError(GatewayError):
    """A call that gave no answer.

    `may_have_worked` says whether the request's bytes may have reached a model: only then can the
    vendor have charged for it.
    """

    def __init__(self, detail: str, *, may_have_worked: bool) -> None:
        super().__init__(detail)
        self.detail, self.may_have_worked = detail, may_have_worked


class ProviderUnavailable(ProviderError):
    """Try again, or try another: overload, time-out, no connection."""

    def __init__(
        self, detail: str, *, may_have_worked: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail, may_have_worked=may_have_worked)
        self.retry_after_s = retry_after_s


class ProviderRefused(ProviderError):
    """Do not try again with the same request: it was rejected as it stands."""


class ProviderInvalidResponse(ProviderError):
    """A reply that is no answer, though its status was a success: not what the format promises.

    The model may have worked for it. `usage` is what the reply said of that, if anything.
    """

    def __init__(self, detail: str, *, usage: Usage | None = None) -> None:
        super().__init__(detail, may_have_worked=True)
        self.usage = usage


class Provider(Protocol):
    """Anything that completes a request."""

    async def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Answer within `deadline_s` seconds, or raise a `ProviderError`."""
        ...

    async def aclose(self) -> None:
        """Give back connections and threads."""
        ...
