"""Messages over HTTP: Anthropic's wire format (platform.claude.com/docs/en/api/messages).

Nothing is streamed, and nothing is tried twice. The key leaves this process in one header to one
address that the operator chose, and never appears in a message, a log line or a `repr`. No seed is
sent, for the format has none: samples of one prompt differ all the same.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import httpx2
import msgspec

from app import __version__
from app.providers.completion import (
    Completion,
    CompletionRequest,
    FinishReason,
    Message,
    ProviderInvalidResponse,
    Usage,
)
from app.providers.endpoint import Endpoint, printable, under
from app.providers.statuses import NOT_NOW, fault
from app.providers.wire import Tokens, decode, name_of, storable

VERSION: Final = "2023-06-01"

OVERLOADED: Final = 529
"""Refused before any work (platform.claude.com/docs/en/api/errors)."""

RESERVED: Final = frozenset(
    {
        "cache_control",  # what is written to a cache costs more than the input that we price
        "max_tokens",
        "mcp_servers",
        "messages",
        "metadata",  # would tell the vendor which of our tenants asks
        "model",
        "stream",
        "system",
        "temperature",
        "tools",  # would be asked for, and run by nobody
    }
)
"""Parameters of a request that the configuration cannot set."""

FINISHES: Final[Mapping[str, FinishReason]] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
}
"""Any other reason, or none, means that the text is not the answer: `tool_use` asks for a tool that
was not offered, `pause_turn` says that writing broke off."""


class AnthropicProvider:
    """Completes requests at `base_url` (such as https://api.anthropic.com/v1), of one account.

    `parameters` go into every request as they are (thinking, top_p, output_config, …), unless the
    request has its own of that name. What a model thinks counts as output and is not its answer.

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
        parameters: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        refuse_reserved(parameters)
        headers = [
            ("Content-Type", "application/json"),
            ("User-Agent", f"fathom/{__version__}"),
            ("anthropic-version", VERSION),
        ]
        if api_key is not None:
            headers.append(("x-api-key", printable(api_key)))
        self._name, self._parameters = name, dict(parameters)
        self._endpoint = Endpoint(
            name=name,
            url=under(base_url, "/messages"),
            headers=headers,
            transport=transport,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            concurrency=concurrency,
        )

    async def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Ask once. Raises a ProviderError that says whether a model may have worked."""
        span = {} if request.traceparent is None else {"traceparent": request.traceparent}
        reply = await self._endpoint.post(self._body(request), deadline_s=deadline_s, headers=span)
        if reply.status != 200:
            raise fault(self._name, reply, not_now=NOT_NOW | {OVERLOADED})
        return read(
            self._name, reply.body, model=request.model, request_id=reply.headers.get("request-id")
        )

    async def aclose(self) -> None:
        """Close the connections; calls in flight end as if the vendor had hung up."""
        await self._endpoint.aclose()

    def _body(self, request: CompletionRequest) -> bytes:
        system, turns = split(request.messages)
        body: dict[str, object] = {
            **self._parameters,
            **request.parameters,
            "model": request.model,
            "messages": turns,
            "max_tokens": request.max_output_tokens,
        }
        if system is not None:
            body["system"] = system
        if request.temperature is not None:
            body["temperature"] = min(request.temperature, 1.0)  # as far as this vendor's goes
        return msgspec.json.encode(body)


def refuse_reserved(parameters: Mapping[str, object]) -> None:
    """Raise ValueError if a configured parameter is one that only Fathom may set."""
    taken = sorted(RESERVED & parameters.keys())
    if taken:
        raise ValueError(f"parameters: {', '.join(taken)}: set by Fathom itself")


def split(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """What stands above the conversation, one paragraph each, and the conversation."""
    above = [message.content for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    return "\n\n".join(above) or None, turns


class _Block(msgspec.Struct):
    type: str
    text: str | None = None


class _Reply(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None
    model: str | None = None
    id: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Usage(msgspec.Struct):
    input_tokens: Tokens
    output_tokens: Tokens
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None


def read(name: str, body: bytes, *, model: str, request_id: str | None) -> Completion:
    """The completion in `body`. `model` is what was asked for, `request_id` the header's.

    Raises ProviderInvalidResponse, with the usage where it could still be read.
    """
    reply = decode(body, _Reply)
    if reply is None:
        raise ProviderInvalidResponse(f"{name}: HTTP 200 without a message in it")
    usage = read_usage(reply.usage)
    finish_reason = FINISHES.get(reply.stop_reason or "")
    if finish_reason is None:
        raise ProviderInvalidResponse(f"{name}: the model did not finish its answer", usage=usage)
    texts = [block.text for block in reply.content if block.type == "text" and block.text]
    if not texts and finish_reason is FinishReason.STOP:
        raise ProviderInvalidResponse(f"{name}: HTTP 200 with no text", usage=usage)
    return Completion(
        text=storable("".join(texts)),
        finish_reason=finish_reason,
        usage=usage,
        returned_model=name_of(reply.model) or model,
        provider_request_id=name_of(request_id) or name_of(reply.id),
    )


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """What the vendor counted; None unless both counts are there and are counts.

    Its input tokens leave out what its cache took and gave, which ours include.
    """
    usage = decode(raw, _Usage)
    if usage is None:
        return None
    cached = usage.cache_read_input_tokens
    return Usage(
        input_tokens=usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (cached or 0),
        output_tokens=usage.output_tokens,
        cached_tokens=cached,
    )
