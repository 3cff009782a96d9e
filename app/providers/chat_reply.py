"""Reads what a chat-completions endpoint answered with status 200: an answer, or an error.

Only what is used is decoded, and what merely accompanies an answer (usage, log-probabilities) is
dropped when it is malformed, while an answer that is malformed is never an answer. The format is
OpenAI's (developers.openai.com/api/reference/resources/chat); deviations are cited where allowed.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from app.providers.completion import (
    Completion,
    FinishReason,
    ProviderInvalidResponse,
    TokenLogprob,
    Usage,
)
from app.providers.wire import Tokens, decode, is_null, name_of, storable

FINISHES: Final[Mapping[str, FinishReason]] = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral: the context window was full
    "content_filter": FinishReason.CONTENT_FILTER,
}
"""Any other reason, or none, means that the text is not the answer: `tool_calls` asks for a tool
that was not offered, `error` and `abort` say that writing broke off."""


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    model: str | None = None
    id: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens
    completion_tokens: Tokens
    total_tokens: msgspec.Raw = msgspec.Raw(b"null")
    prompt_tokens_details: msgspec.Raw = msgspec.Raw(b"null")
    completion_tokens_details: msgspec.Raw = msgspec.Raw(b"null")


class _InputDetails(msgspec.Struct):
    cached_tokens: Tokens | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Tokens | None = None


class _Alternative(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


def read(name: str, body: bytes, *, model: str, request_id: str | None) -> Completion:
    """The completion in `body`. `model` is what was asked for, `request_id` the header's.

    Raises ProviderInvalidResponse, with the usage where it could still be read.
    """
    reply = decode(body, _Reply)
    if reply is None:
        raise ProviderInvalidResponse(f"{name}: HTTP 200 without a chat completion in it")
    usage = read_usage(reply.usage)
    choice = reply.choices[0] if reply.choices else None
    if choice is None or not is_null(reply.error):
        what = "no choices" if is_null(reply.error) else "an error instead of an answer"
        raise ProviderInvalidResponse(f"{name}: HTTP 200 with {what}", usage=usage)
    finish_reason = FINISHES.get(choice.finish_reason or "")
    if finish_reason is None:
        raise ProviderInvalidResponse(f"{name}: the model did not finish its answer", usage=usage)
    refusal = choice.message.refusal
    text = choice.message.content if choice.message.content is not None else refusal
    if text is None and finish_reason is FinishReason.STOP:
        raise ProviderInvalidResponse(f"{name}: HTTP 200 with no text", usage=usage)
    return Completion(
        text=storable(text or ""),
        finish_reason=FinishReason.CONTENT_FILTER if refusal else finish_reason,
        usage=usage,
        returned_model=name_of(reply.model) or model,
        provider_request_id=name_of(request_id) or name_of(reply.id),
        logprobs=_read_logprobs(choice.logprobs),
    )


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """What the vendor counted; None unless both counts are there and are counts."""
    usage = decode(raw, _Usage)
    if usage is None:
        return None
    of_input = decode(usage.prompt_tokens_details, _InputDetails) or _InputDetails()
    of_output = decode(usage.completion_tokens_details, _OutputDetails) or _OutputDetails()
    written, reasoning = usage.completion_tokens, of_output.reasoning_tokens
    # xAI counts reasoning beside the completion, and only its total says so (docs.x.ai, Reasoning).
    apart = usage.prompt_tokens + written + (reasoning or 0)
    is_apart = bool(reasoning) and decode(usage.total_tokens, int) == apart
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=apart - usage.prompt_tokens if is_apart else written,
        cached_tokens=of_input.cached_tokens,
        reasoning_tokens=reasoning,
    )


def _read_logprobs(raw: msgspec.Raw) -> Sequence[TokenLogprob] | None:
    logprobs = decode(raw, _Logprobs)
    if logprobs is None or logprobs.content is None:
        return None
    return tuple(
        TokenLogprob(
            token=at.token,
            logprob=at.logprob,
            top=tuple((other.token, other.logprob) for other in at.top_logprobs or ()),
        )
        for at in logprobs.content
    )
