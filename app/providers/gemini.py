"""generateContent over HTTP: Google's wire format (ai.google.dev/api/generate-content).

Nothing is streamed, and nothing is tried twice. The key leaves this process in one header (never in
the address, which proxies log) to one address that the operator chose, and never appears in a
message, a log line or a `repr`.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import httpx2
import msgspec

from app import __version__
from app.providers.completion import (
    Completion,
    CompletionRequest,
    FinishReason,
    Message,
    ProviderInvalidResponse,
    ProviderRefused,
    TokenLogprob,
    Usage,
    call_seed,
)
from app.providers.endpoint import Endpoint, printable, under
from app.providers.statuses import fault
from app.providers.wire import Tokens, decode, is_null, name_of, storable

MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

RESERVED: Final = frozenset(
    {"cachedContent", "contents", "labels", "systemInstruction", "toolConfig", "tools"}
)
RESERVED_OF_GENERATION: Final = frozenset(
    {"candidateCount", "maxOutputTokens", "seed", "temperature"}
)
"""Parameters of a request, and of its `generationConfig`, that the configuration cannot set."""

FINISHES: Final[Mapping[str, FinishReason]] = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    **dict.fromkeys(
        ("BLOCKLIST", "LANGUAGE", "PROHIBITED_CONTENT", "RECITATION", "SAFETY", "SPII"),
        FinishReason.CONTENT_FILTER,
    ),
}
"""Any other reason, or none, means that the text is not the answer: `MALFORMED_FUNCTION_CALL` asks
for a tool that was not offered, `OTHER` says that writing broke off."""


class GeminiProvider:
    """Completes requests under `base_url`, such as https://generativelanguage.googleapis.com/v1beta.

    `parameters` go into every request as they are (`generationConfig`, `safetySettings`, …); those
    of the request win, field by field within `generationConfig`. What a model thinks counts as
    output and is not its answer.

    `transport` is its own for life and is closed with it. Raises ValueError for an address, a key
    or parameters that cannot be meant.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None,
        transport: httpx2.AsyncBaseTransport,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 600.0,
        concurrency: int = 64,
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        refuse_reserved(parameters)
        headers = [("Content-Type", "application/json"), ("User-Agent", f"fathom/{__version__}")]
        if api_key is not None:
            headers.append(("x-goog-api-key", printable(api_key)))
        self._name, self._parameters = name, dict(parameters)
        self._endpoint = Endpoint(
            name=name,
            url=under(base_url, "/models/"),
            headers=headers,
            transport=transport,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            concurrency=concurrency,
        )

    async def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Ask once. Raises a ProviderError that says whether a model may have worked."""
        if MODEL.fullmatch(request.model) is None:
            # It goes into the address, where it must not lead elsewhere.
            raise ProviderRefused(f"{self._name}: not the name of a model", may_have_worked=False)
        span = {} if request.traceparent is None else {"traceparent": request.traceparent}
        reply = await self._endpoint.post(
            self._body(request),
            deadline_s=deadline_s,
            headers=span,
            path=f"{request.model}:generateContent",
        )
        if reply.status != 200:
            raise fault(self._name, reply)
        return read(self._name, reply.body, model=request.model)

    async def aclose(self) -> None:
        """Close the connections; calls in flight end as if the vendor had hung up."""
        await self._endpoint.aclose()

    def _body(self, request: CompletionRequest) -> bytes:
        generation: dict[str, object] = {
            **self._parameters.get("generationConfig", {}),
            **request.parameters.get("generationConfig", {}),  # type: ignore[dict-item]
            "candidateCount": 1,
            "maxOutputTokens": request.max_output_tokens,
            "seed": call_seed(request),
        }
        if request.temperature is not None:
            generation["temperature"] = request.temperature
        body: dict[str, object] = {
            **self._parameters,
            **request.parameters,
            "contents": [_content(turn) for turn in request.messages if turn.role != "system"],
            "generationConfig": generation,
        }
        above = [_part(turn) for turn in request.messages if turn.role == "system"]
        if above:
            body["systemInstruction"] = {"parts": above}
        return msgspec.json.encode(body)


def refuse_reserved(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError if a configured parameter is one that only Fathom may set."""
    generation = parameters.get("generationConfig", {})
    if not isinstance(generation, Mapping):
        raise ValueError("parameters: generationConfig: expected a table")  # noqa: TRY004 - a file's
    taken = sorted(RESERVED & parameters.keys())
    taken += sorted(RESERVED_OF_GENERATION & generation.keys())
    if taken:
        raise ValueError(f"parameters: {', '.join(taken)}: set by Fathom itself")


def _content(turn: Message) -> dict[str, object]:
    role = "model" if turn.role == "assistant" else "user"
    return {"role": role, "parts": [_part(turn)]}


def _part(turn: Message) -> dict[str, str]:
    return {"text": turn.content}


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool = False


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Token(msgspec.Struct, rename="camel"):
    token: str
    log_probability: float


class _Place(msgspec.Struct):
    candidates: list[_Token] = []


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token]
    top_candidates: list[_Place] = []


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content = msgspec.field(default_factory=_Content)
    finish_reason: str | None = None
    logprobs_result: msgspec.Raw = msgspec.Raw(b"null")


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Reply(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] = []
    prompt_feedback: _Feedback = msgspec.field(default_factory=_Feedback)
    model_version: str | None = None
    response_id: str | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw(b"null")


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Tokens
    candidates_token_count: Tokens | None = None
    thoughts_token_count: Tokens | None = None
    cached_content_token_count: Tokens | None = None
    total_token_count: Tokens | None = None


def read(name: str, body: bytes, *, model: str) -> Completion:
    """The completion in `body`; `model` is what was asked for.

    A prompt that was refused whole has no candidate and is answered with no text. Raises
    ProviderInvalidResponse, with the usage where it could still be read.
    """
    reply = decode(body, _Reply)
    if reply is None:
        raise ProviderInvalidResponse(f"{name}: HTTP 200 without generated content in it")
    usage = read_usage(reply.usage_metadata)
    candidate = reply.candidates[0] if reply.candidates else _Candidate()
    finish_reason = FINISHES.get(candidate.finish_reason or "")
    if not reply.candidates and reply.prompt_feedback.block_reason is not None:
        finish_reason = FinishReason.CONTENT_FILTER
    if finish_reason is None:
        raise ProviderInvalidResponse(f"{name}: the model did not finish its answer", usage=usage)
    texts = [part.text for part in candidate.content.parts if part.text and not part.thought]
    if not texts and finish_reason is FinishReason.STOP:
        raise ProviderInvalidResponse(f"{name}: HTTP 200 with no text", usage=usage)
    return Completion(
        text=storable("".join(texts)),
        finish_reason=finish_reason,
        usage=usage,
        returned_model=name_of(reply.model_version) or model,
        provider_request_id=name_of(reply.response_id),
        logprobs=_read_logprobs(candidate.logprobs_result),
    )


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """What the vendor counted; None unless the prompt's count is there and all are counts.

    It counts what was thought beside what was said, and leaves out a count that is zero.
    """
    usage = decode(raw, _Usage)
    if usage is None or (usage.candidates_token_count is None and usage.total_token_count is None):
        return None
    thought = usage.thoughts_token_count
    return Usage(
        input_tokens=usage.prompt_token_count,
        output_tokens=(usage.candidates_token_count or 0) + (thought or 0),
        cached_tokens=usage.cached_content_token_count,
        reasoning_tokens=thought,
    )


def _read_logprobs(raw: msgspec.Raw) -> Sequence[TokenLogprob] | None:
    found = None if is_null(raw) else decode(raw, _Logprobs)
    if found is None:
        return None
    places = found.top_candidates or [_Place() for _ in found.chosen_candidates]
    if len(places) != len(found.chosen_candidates):
        return None
    return tuple(
        TokenLogprob(
            token=chosen.token,
            logprob=chosen.log_probability,
            top=tuple((one.token, one.log_probability) for one in place.candidates),
        )
        for chosen, place in zip(found.chosen_candidates, places, strict=True)
    )
