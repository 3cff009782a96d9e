from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from app.providers.aiohttp_transport import AiohttpTransport
from app.providers.completion import (
    FinishReason,
    Message,
    ProviderError,
    ProviderInvalidResponse,
    ProviderRefused,
    ProviderUnavailable,
    TokenLogprob,
    Usage,
    call_seed,
)
from app.providers.gemini import GeminiProvider
from tests.providers.requests import REQUEST
from tests.providers.upstream import KEY, Json, Part, Script, Upstream, respond, upstream
from tests.providers.vendors import GEMINI, content, gemini, gemini_error

ASK: Final = replace(
    REQUEST,
    model=GEMINI,
    messages=(Message("system", "Be brief."), Message("user", "What is 8 * 3?")),
)
USAGE: Final = Usage(19, 10, cached_tokens=16, reasoning_tokens=4)


@asynccontextmanager
async def answering(
    script: Script = gemini,
    **settings: Any,  # noqa: ANN401 - the provider's keywords
) -> AsyncGenerator[tuple[GeminiProvider, Upstream]]:
    """A provider and the server that it calls."""
    async with upstream(script) as server:
        usual: Json = {"name": "acme", "base_url": server.base_url, "api_key": KEY}
        provider = GeminiProvider(**usual | settings, transport=AiohttpTransport())
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def test_answer_is_read_with_all_that_accompanies_it() -> None:
    """What was thought is output all the same: the vendor counts it apart."""
    async with answering() as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert (answer.text, answer.finish_reason, answer.usage) == ("24", FinishReason.STOP, USAGE)
    assert answer.returned_model == f"{GEMINI}-001"
    assert answer.provider_request_id == "resp_1"


async def test_request_is_contents_with_the_key_in_one_header() -> None:
    """Never in the address, which proxies log."""
    turns = (*ASK.messages, Message("assistant", "Well"), Message("user", "So?"))
    async with answering() as (provider, server):
        await provider.complete(replace(ASK, messages=turns, temperature=0.0), deadline_s=5)
    asked = server.asked[0]
    assert asked.document == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "What is 8 * 3?"}]},
            {"role": "model", "parts": [{"text": "Well"}]},
            {"role": "user", "parts": [{"text": "So?"}]},
        ],
        "generationConfig": {
            "candidateCount": 1,
            "maxOutputTokens": 1_000,
            "seed": call_seed(ASK),
            "temperature": 0.0,
        },
    }
    assert [name for name, value in asked.headers.items() if KEY in value] == ["x-goog-api-key"]
    assert KEY not in asked.path


async def test_parameters_of_the_request_win_over_the_provider_s() -> None:
    """Field by field within the generation's own."""
    ours: Json = {"generationConfig": {"topP": 0.5, "topK": 3}, "safetySettings": []}
    request = replace(ASK, parameters={"generationConfig": {"topP": 0.9, "seed": 1}})
    async with answering(parameters=ours) as (provider, server):
        await provider.complete(request, deadline_s=5)
    document = server.asked[0].document
    assert document["safetySettings"] == []
    generation = document["generationConfig"]
    assert (generation["topP"], generation["topK"]) == (0.9, 3)
    assert generation["seed"] == call_seed(ASK)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"tools": []}, "tools: set by Fathom itself"),
        ({"generationConfig": {"maxOutputTokens": 5}}, "maxOutputTokens: set by Fathom itself"),
        ({"generationConfig": 5}, "generationConfig: expected a table"),
    ],
)
def test_parameter_that_cannot_be_configured_is_refused(parameters: Json, says: str) -> None:
    """Such as one that would be paid for and never read."""
    with pytest.raises(ValueError, match=says):
        GeminiProvider(
            name="acme",
            base_url="http://127.0.0.1:1",
            api_key=None,
            transport=_never_used(),
            parameters=parameters,
        )


class _never_used(AiohttpTransport):  # noqa: N801 - reads as a value
    """A transport that is not opened, for a provider that is never made."""

    def __init__(self) -> None:
        pass


def spoken(*parts: Json, reason: str = "STOP") -> Json:
    """A reply of these parts."""
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason}
    return content(candidates=[candidate])


BLOCKED: Final = content(candidates=[], promptFeedback={"blockReason": "SAFETY"})


@pytest.mark.parametrize(
    ("document", "text", "reason"),
    [
        (spoken({"text": "8+8+8", "thought": True}, {"text": "24"}), "24", FinishReason.STOP),
        (spoken({"text": "2"}, {"text": "4"}), "24", FinishReason.STOP),
        (content(finish_reason="MAX_TOKENS"), "24", FinishReason.LENGTH),
        (content(None, finish_reason="MAX_TOKENS"), "", FinishReason.LENGTH),
        (content(None, finish_reason="SAFETY"), "", FinishReason.CONTENT_FILTER),
        (content(finish_reason="RECITATION"), "24", FinishReason.CONTENT_FILTER),
        (BLOCKED, "", FinishReason.CONTENT_FILTER),
    ],
)
async def test_answer_is_what_the_model_said_and_why_it_stopped(
    document: Json, text: str, reason: FinishReason
) -> None:
    """Thoughts are no part of it; what a filter stopped must not be taken for an answer."""
    async with answering(lambda _: respond(document)) as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert (answer.text, answer.finish_reason, answer.usage) == (text, reason, USAGE)


@pytest.mark.parametrize(
    "document",
    [
        content(candidates=[]),
        content(None),
        content(finish_reason="OTHER"),
        content(finish_reason="MALFORMED_FUNCTION_CALL"),
        content(finish_reason=None),
    ],
)
async def test_success_without_an_answer_is_an_error(document: Json) -> None:
    """With what it cost, where that could be read."""
    async with answering(lambda _: respond(document)) as (provider, _):
        with pytest.raises(ProviderInvalidResponse) as failed:
            await provider.complete(ASK, deadline_s=5)
    assert failed.value.usage == USAGE


@pytest.mark.parametrize(
    ("counted", "usage"),
    [
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(5, 0)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 2}, Usage(5, 2)),
        ({"promptTokenCount": 5}, None),
        ({"candidatesTokenCount": 2}, None),
        ({"promptTokenCount": -5, "candidatesTokenCount": 2}, None),
        (None, None),
    ],
)
async def test_usage_is_all_counts_or_none(counted: object, usage: Usage | None) -> None:
    """A count that is zero is left out by this vendor; a half-told usage is no usage."""
    async with answering(lambda _: respond(content(usageMetadata=counted))) as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert (answer.text, answer.usage) == ("24", usage)


async def test_log_probabilities_are_read_where_they_were_sent() -> None:
    """Beside the likeliest in their place."""
    chosen, rival = {"token": "24", "logProbability": -0.1}, {"token": "25", "logProbability": -3.0}
    told = {"chosenCandidates": [chosen], "topCandidates": [{"candidates": [chosen, rival]}]}
    document = content()
    document["candidates"][0]["logprobsResult"] = told
    async with answering(lambda _: respond(document)) as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert answer.logprobs == (TokenLogprob("24", -0.1, (("24", -0.1), ("25", -3.0))),)


@pytest.mark.parametrize(
    ("does", "kind", "says", "may_have_worked"),
    [
        (
            respond(gemini_error(429, "RESOURCE_EXHAUSTED"), status=429),
            ProviderUnavailable,
            "HTTP 429 (resource_exhausted)",
            False,
        ),
        (
            respond(gemini_error(503, "UNAVAILABLE"), status=503),
            ProviderUnavailable,
            "HTTP 503 (unavailable)",
            True,
        ),
        (
            respond(gemini_error(400, "INVALID_ARGUMENT", KEY), status=400),
            ProviderRefused,
            "HTTP 400 (invalid_argument)",
            False,
        ),
        (
            respond(gemini_error(403, "PERMISSION_DENIED"), status=403),
            ProviderRefused,
            "key is not accepted",
            False,
        ),
        (Part(respond(content())[:120]), ProviderUnavailable, "", True),
        (respond(body=b"<html>"), ProviderInvalidResponse, "without generated content", True),
    ],
)
async def test_fault_says_whether_to_ask_again_and_whether_it_may_cost(
    does: bytes | Part, kind: type[ProviderError], says: str, *, may_have_worked: bool
) -> None:
    """And passes on nothing that the vendor wrote but its word for it."""
    async with answering(lambda _: does) as (provider, _):
        with pytest.raises(kind) as failed:
            await provider.complete(ASK, deadline_s=5)
    assert says in failed.value.detail
    assert failed.value.may_have_worked is may_have_worked
    assert KEY not in str(failed.value)


async def test_model_cannot_lead_to_another_address() -> None:
    """Its name is a part of the path."""
    async with answering() as (provider, server):
        with pytest.raises(ProviderRefused, match="not the name of a model"):
            await provider.complete(replace(ASK, model="../files?x="), deadline_s=5)
        with pytest.raises(ProviderRefused, match="not_found"):
            await provider.complete(replace(ASK, model="unknown"), deadline_s=5)
    assert len(server.asked) == 1
