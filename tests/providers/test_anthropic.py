from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from app.providers.aiohttp_transport import AiohttpTransport
from app.providers.anthropic import AnthropicProvider
from app.providers.completion import (
    FinishReason,
    Message,
    ProviderError,
    ProviderInvalidResponse,
    ProviderRefused,
    ProviderUnavailable,
    Usage,
)
from tests.providers.requests import REQUEST
from tests.providers.upstream import KEY, Json, Part, Script, Upstream, respond, upstream
from tests.providers.vendors import CLAUDE, anthropic, anthropic_error, message

ASK: Final = replace(
    REQUEST,
    model=CLAUDE,
    messages=(Message("system", "Be brief."), Message("user", "What is 8 * 3?")),
)
USAGE: Final = Usage(19, 10, cached_tokens=16)


@asynccontextmanager
async def answering(
    script: Script = anthropic,
    **settings: Any,  # noqa: ANN401 - the provider's keywords
) -> AsyncGenerator[tuple[AnthropicProvider, Upstream]]:
    """A provider and the server that it calls."""
    async with upstream(script) as server:
        usual: Json = {"name": "acme", "base_url": server.base_url, "api_key": KEY}
        provider = AnthropicProvider(**usual | settings, transport=AiohttpTransport())
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def test_answer_is_read_with_all_that_accompanies_it() -> None:
    """What the cache gave is input all the same: the vendor counts it apart."""
    async with answering() as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert (answer.text, answer.finish_reason, answer.usage) == ("24", FinishReason.STOP, USAGE)
    assert answer.returned_model == f"{CLAUDE}-20260101"
    assert answer.provider_request_id == "req_011"


async def test_request_is_a_message_with_the_key_in_one_header() -> None:
    """What stands above the conversation is not part of it, and nobody is named."""
    above = (Message("system", "Be kind."), *ASK.messages, Message("assistant", "Well"))
    asked = replace(ASK, messages=(*above, Message("user", "So?")), temperature=1.7)
    async with answering() as (provider, server):
        await provider.complete(asked, deadline_s=5)
    assert server.asked[0].document == {
        "model": CLAUDE,
        "system": "Be kind.\n\nBe brief.",
        "messages": [
            {"role": "user", "content": "What is 8 * 3?"},
            {"role": "assistant", "content": "Well"},
            {"role": "user", "content": "So?"},
        ],
        "max_tokens": 1_000,
        "temperature": 1.0,
    }
    headers = server.asked[0].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert [name for name, value in headers.items() if KEY in value] == ["x-api-key"]


async def test_parameters_of_the_request_win_over_the_provider_s() -> None:
    """An effort level is an expert of its own; both are sent as they are configured."""
    request = replace(ASK, parameters={"output_config": {"effort": "low"}, "max_tokens": 7})
    settings: Json = {"parameters": {"output_config": {"effort": "high"}, "top_p": 0.5}}
    async with answering(**settings) as (provider, server):
        await provider.complete(request, deadline_s=5)
    document = server.asked[0].document
    assert document["output_config"] == {"effort": "low"}
    assert (document["top_p"], document["max_tokens"]) == (0.5, 1_000)


@pytest.mark.parametrize("taken", ["tools", "metadata", "stream", "cache_control", "system"])
def test_parameter_that_fathom_sets_is_refused(taken: str) -> None:
    """Such as one that would be paid for and never read, or priced wrongly."""
    with pytest.raises(ValueError, match=f"parameters: {taken}: set by Fathom itself"):
        AnthropicProvider(
            name="acme",
            base_url="http://127.0.0.1:1",
            api_key=None,
            transport=_never_used(),
            parameters={taken: 5},
        )


class _never_used(AiohttpTransport):  # noqa: N801 - reads as a value
    """A transport that is not opened, for a provider that is never made."""

    def __init__(self) -> None:
        pass


THOUGHT: Final = {"type": "thinking", "thinking": "8 + 8 + 8", "signature": "x"}
TEXT: Final = {"type": "text", "text": "24"}


@pytest.mark.parametrize(
    ("document", "text", "reason"),
    [
        (message(content=[THOUGHT, TEXT]), "24", FinishReason.STOP),
        (message(content=[TEXT, TEXT]), "2424", FinishReason.STOP),
        (message(stop_reason="stop_sequence"), "24", FinishReason.STOP),
        (message(stop_reason="max_tokens"), "24", FinishReason.LENGTH),
        (message(stop_reason="max_tokens", content=[THOUGHT]), "", FinishReason.LENGTH),
        (message(stop_reason="model_context_window_exceeded"), "24", FinishReason.LENGTH),
        (message(stop_reason="refusal", content=[]), "", FinishReason.CONTENT_FILTER),
    ],
)
async def test_answer_is_what_the_model_said_and_why_it_stopped(
    document: Json, text: str, reason: FinishReason
) -> None:
    """Thoughts are no part of it; a refusal is an answer that must not be taken for one."""
    async with answering(lambda _: respond(document)) as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert (answer.text, answer.finish_reason, answer.usage) == (text, reason, USAGE)


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        ({"type": "error"}, None),
        (message(content=[]), USAGE),
        (message(stop_reason="tool_use"), USAGE),
        (message(stop_reason="pause_turn"), USAGE),
        (message(stop_reason=None), USAGE),
        (message(stop_reason="tool_use", usage={"input_tokens": 3}), None),
    ],
)
async def test_success_without_an_answer_is_an_error(document: Json, usage: Usage | None) -> None:
    """With what it cost, where that could be read."""
    async with answering(lambda _: respond(document)) as (provider, _):
        with pytest.raises(ProviderInvalidResponse) as failed:
            await provider.complete(ASK, deadline_s=5)
    assert failed.value.usage == usage


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": -1, "output_tokens": 1}, "none"])
async def test_missing_usage_leaves_the_answer(usage: object) -> None:
    """It is an answer whose cost has to be estimated."""
    async with answering(lambda _: respond(message(usage=usage))) as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert (answer.text, answer.usage) == ("24", None)


OVERLOADED: Final = (
    b"HTTP/1.1 529 Overloaded\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n"
    b'{"type":"error","error":{"type":"overloaded_error"}}        '
)


@pytest.mark.parametrize(
    ("does", "kind", "says", "may_have_worked"),
    [
        (
            respond(anthropic_error("rate_limit_error"), status=429, headers={"retry-after": "7"}),
            ProviderUnavailable,
            "HTTP 429 (rate_limit_error)",
            False,
        ),
        (OVERLOADED, ProviderUnavailable, "HTTP 529 (overloaded_error)", False),
        (
            respond(anthropic_error("api_error"), status=500),
            ProviderUnavailable,
            "HTTP 500 (api_error)",
            True,
        ),
        (
            respond(anthropic_error("invalid_request_error", KEY), status=400),
            ProviderRefused,
            "HTTP 400 (invalid_request_error)",
            False,
        ),
        (
            respond(anthropic_error("authentication_error"), status=401),
            ProviderRefused,
            "key is not accepted",
            False,
        ),
        (respond(anthropic_error("request_too_large"), status=413), ProviderRefused, "413", False),
        (Part(respond(message())[:120]), ProviderUnavailable, "", True),
        (respond(body=b"<html>"), ProviderInvalidResponse, "without a message", True),
    ],
)
async def test_fault_says_whether_to_ask_again_and_whether_it_may_cost(
    does: bytes | Part, kind: type[ProviderError], says: str, *, may_have_worked: bool
) -> None:
    """An overload is refused before any work; nothing that the vendor wrote is passed on."""
    async with answering(lambda _: does) as (provider, _):
        with pytest.raises(kind) as failed:
            await provider.complete(ASK, deadline_s=5)
    assert says in failed.value.detail
    assert failed.value.may_have_worked is may_have_worked
    assert KEY not in str(failed.value)
    if isinstance(failed.value, ProviderUnavailable) and "429" in says:
        assert failed.value.retry_after_s == 7


async def test_wrong_key_and_unknown_model_are_told_apart() -> None:
    """By the server that behaves as documented."""
    async with answering(api_key="sk-wrong") as (provider, _):
        with pytest.raises(ProviderRefused, match="our key is not accepted"):
            await provider.complete(ASK, deadline_s=5)
    async with answering() as (provider, _):
        with pytest.raises(ProviderRefused, match="not_found_error"):
            await provider.complete(replace(ASK, model="unknown"), deadline_s=5)
