"""Chat completions over HTTP: OpenAI's wire format, which most servers of models speak too.

Nothing is streamed, and nothing is tried twice. The key leaves this process in one header to one
address that the operator chose, and never appears in a message, a log line or a `repr`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import httpx2
import msgspec

from app import __version__
from app.providers import chat_reply
from app.providers.completion import Completion, CompletionRequest, call_seed
from app.providers.endpoint import Endpoint, printable, under
from app.providers.statuses import fault

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 600.0
"""As long as OpenAI's own clients wait: a reasoning model is silent until it has finished."""
CONCURRENCY: Final = 64

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]

RESERVED: Final = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "random_seed",
        "seed",
        "stream",
        "stream_options",
        "temperature",
        "user",  # would tell the vendor which of our tenants asks
    }
)
"""Parameters of a request that the configuration cannot set."""


class OpenAIProvider:
    """Completes requests at `base_url` (such as https://api.openai.com/v1), of one vendor account.

    `api_key` is None for a server that asks for none. `max_tokens_field` is what bounds the output:
    OpenAI's reasoning models take only max_completion_tokens, and many other servers know only
    max_tokens; the default is the one that a server refuses, rather than ignores, when it cannot
    honour it. `seed_field` is None for a server that refuses a seed (Mistral: random_seed).
    `parameters` go into every request as they are (top_p, reasoning_effort, logprobs, …), unless
    the request has its own of that name.

    `transport` is its own for life and is closed with it. Raises ValueError for an address or
    parameters that cannot be meant.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None,
        transport: httpx2.AsyncBaseTransport,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        concurrency: int = CONCURRENCY,
        max_tokens_field: MaxTokensField = "max_tokens",
        seed_field: str | None = "seed",
        parameters: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        refuse_reserved(parameters)
        headers = [("Content-Type", "application/json"), ("User-Agent", f"fathom/{__version__}")]
        if api_key is not None:
            headers.append(("Authorization", f"Bearer {printable(api_key)}"))
        self._name, self._parameters = name, dict(parameters)
        self._max_tokens_field, self._seed_field = max_tokens_field, seed_field
        self._endpoint = Endpoint(
            name=name,
            url=completions_url(base_url),
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
            raise fault(self._name, reply)
        return chat_reply.read(
            self._name,
            reply.body,
            model=request.model,
            request_id=reply.headers.get("x-request-id"),
        )

    async def aclose(self) -> None:
        """Close the connections; calls in flight end as if the vendor had hung up."""
        await self._endpoint.aclose()

    def _body(self, request: CompletionRequest) -> bytes:
        body: dict[str, object] = {
            **self._parameters,
            **request.parameters,
            "model": request.model,
            "messages": request.messages,
            self._max_tokens_field: request.max_output_tokens,
            "n": 1,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if self._seed_field is not None:
            body[self._seed_field] = call_seed(request)
        return msgspec.json.encode(body)


def refuse_reserved(parameters: Mapping[str, object]) -> None:
    """Raise ValueError if a configured parameter is one that only Fathom may set."""
    taken = sorted(RESERVED & parameters.keys())
    if taken:
        raise ValueError(f"parameters: {', '.join(taken)}: set by Fathom itself")


def completions_url(base_url: str) -> httpx2.URL:
    """Where to post, under `base_url`."""
    return under(base_url, "/chat/completions")
