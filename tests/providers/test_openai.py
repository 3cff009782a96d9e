import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.providers.aiohttp_transport import AiohttpTransport
from app.providers.completion import (
    CompletionRequest,
    FinishReason,
    Message,
    ProviderRefused,
    ProviderUnavailable,
    TokenLogprob,
    Usage,
    call_seed,
)
from app.providers.openai import OpenAIProvider, completions_url
from tests.providers.requests import REQUEST
from tests.providers.upstream import (
    KEY,
    MODEL,
    Act,
    Asked,
    Json,
    Script,
    Upstream,
    as_documented,
    completion,
    respond,
    upstream,
)

ASK = replace(
    REQUEST,
    model=MODEL,
    messages=(Message("system", "Be brief."), Message("user", "What is 8 * 3?")),
)


def provider_at(server: Upstream, **settings: Any) -> OpenAIProvider:  # noqa: ANN401 - its keywords
    """The provider, pointed at `server` with the key that it accepts."""
    usual: Json = {"name": "acme", "base_url": server.base_url, "api_key": KEY}
    if "transport" not in settings:
        usual["transport"] = AiohttpTransport()
    return OpenAIProvider(**usual | settings)


@asynccontextmanager
async def answering(
    script: Script = as_documented,
    **settings: Any,  # noqa: ANN401 - the provider's keywords
) -> AsyncGenerator[tuple[OpenAIProvider, Upstream]]:
    """A provider and the server that it calls."""
    async with upstream(script) as server:
        provider = provider_at(server, **settings)
        try:
            yield provider, server
        finally:
            await provider.aclose()


def always(document: object) -> Script:
    """Answer everything with `document`."""
    return lambda _: respond(document)


def held(until: asyncio.Event) -> Script:
    """Answer once the event is set."""

    async def script(asked: Asked) -> Act:
        await until.wait()
        return as_documented(asked)

    return script


async def sent(request: CompletionRequest, **settings: Any) -> Json:  # noqa: ANN401 - as above
    """The document that a request becomes."""
    async with answering(always(completion()), **settings) as (provider, server):
        await provider.complete(request, deadline_s=5)
        return server.asked[0].document


# -- What is sent ----------------------------------------------------------------------------------


async def test_request_is_a_chat_completion_with_the_key_in_one_header() -> None:
    """Nothing is sent that was not asked for: no user, no stream."""
    async with answering() as (provider, server):
        await provider.complete(replace(ASK, temperature=0.0), deadline_s=5)
    asked = server.asked[0]
    assert asked.document == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 8 * 3?"},
        ],
        "max_tokens": 1_000,
        "n": 1,
        "seed": call_seed(ASK),
        "temperature": 0.0,
    }
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["user-agent"].startswith("fathom/")
    assert [name for name, value in asked.headers.items() if KEY in value] == ["authorization"]


async def test_call_names_its_span_where_it_has_one() -> None:
    """And nothing of an earlier call's."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with answering() as (provider, server):
        await provider.complete(replace(ASK, traceparent=traceparent), deadline_s=5)
        await provider.complete(ASK, deadline_s=5)
    named, unnamed = server.asked
    assert named.headers["traceparent"] == traceparent
    assert named.headers.keys() - unnamed.headers.keys() == {"traceparent"}


async def test_server_that_asks_for_no_key_is_sent_none() -> None:
    """A model on one's own machine has no account."""
    async with answering(always(completion()), api_key=None) as (provider, server):
        await provider.complete(ASK, deadline_s=5)
    assert "authorization" not in server.asked[0].headers


async def test_fields_follow_what_the_server_understands() -> None:
    """The bound on output and the seed have other names elsewhere, and a seed may be refused."""
    document = await sent(ASK, max_tokens_field="max_completion_tokens", seed_field="random_seed")
    assert document["max_completion_tokens"] == 1_000
    assert document["random_seed"] == call_seed(ASK)
    assert not {"max_tokens", "seed", "temperature"} & document.keys()
    assert "seed" not in await sent(ASK, seed_field=None)


async def test_parameters_of_the_request_win_over_the_provider_s() -> None:
    """Both are sent as they are configured; neither changes what bounds or prices the call."""
    request = replace(ASK, parameters={"reasoning_effort": "low", "n": 5})
    document = await sent(request, parameters={"reasoning_effort": "high", "top_p": 0.5})
    assert document["reasoning_effort"] == "low"
    assert document["top_p"] == 0.5
    assert document["n"] == 1


@pytest.mark.parametrize("taken", ["n", "stream", "max_tokens", "user", "model"])
def test_parameter_that_fathom_sets_is_refused(taken: str) -> None:
    """A configured `n` would be paid for and never read."""
    with pytest.raises(ValueError, match=f"parameters: {taken}: set by Fathom itself"):
        OpenAIProvider(
            name="acme",
            base_url="http://127.0.0.1:1",
            api_key=None,
            transport=_never_used(),
            parameters={taken: 5},
        )


def test_seed_of_a_call_differs_by_op_and_repeats() -> None:
    """Samples of one prompt must differ; a repeated attempt should not."""
    seeds = {call_seed(replace(ASK, op=f"t{n}")) for n in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert call_seed(ASK) == call_seed(replace(ASK, temperature=1.0))
    assert call_seed(ASK) != call_seed(replace(ASK, seed=1))


async def test_long_prompt_is_sent_whole() -> None:
    """A few megabytes of context are no reason for a warning."""
    prompt = "a" * 3_000_000
    document = await sent(replace(ASK, messages=(Message("user", prompt),)))
    assert document["messages"][0]["content"] == prompt


@pytest.mark.parametrize(
    ("base_url", "posted"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://[::1]:8000", "http://[::1]:8000/chat/completions"),
        (
            "https://x.example/openai/v1?api-version=preview",
            "https://x.example/openai/v1/chat/completions?api-version=preview",
        ),
    ],
)
def test_path_goes_under_the_base_url(base_url: str, posted: str) -> None:
    """With or without a last slash, and before a query."""
    assert str(completions_url(base_url)) == posted


@pytest.mark.parametrize(
    "base_url",
    ["", "api.openai.com/v1", "ftp://x.example", "https://", "https://user:pass@x.example/v1"],
)
def test_base_url_that_cannot_be_meant_is_refused(base_url: str) -> None:
    """At start, not at the first call; and without quoting a password."""
    with pytest.raises(ValueError, match="base_url: ") as refused:
        completions_url(base_url)
    assert "pass@" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "sk-1\n", " sk-1", "sk-é"])
def test_key_that_no_header_can_carry_is_refused(key: str) -> None:
    """Such as one with the line end of its file; it is not quoted."""
    with pytest.raises(ValueError, match=r"^api_key: must be printable ASCII") as refused:
        OpenAIProvider(
            name="acme", base_url="http://127.0.0.1:1", api_key=key, transport=_never_used()
        )
    assert "sk-" not in str(refused.value)


class _never_used(AiohttpTransport):  # noqa: N801 - reads as a value
    """A transport that is not opened, for a provider that is never made."""

    def __init__(self) -> None:
        pass


# -- What is read ----------------------------------------------------------------------------------


async def test_answer_is_read_with_all_that_accompanies_it() -> None:
    """Text, reason, usage, the model that answered, and the id that the vendor's support knows."""
    async with answering() as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert answer.text == "24"
    assert answer.finish_reason is FinishReason.STOP
    assert answer.usage == Usage(19, 10, cached_tokens=16, reasoning_tokens=4)
    assert answer.returned_model == f"{MODEL}-2026-01-01"
    assert answer.provider_request_id == "req_1"
    assert answer.logprobs is None


async def test_answers_share_connections() -> None:
    """One connection serves calls that follow each other, whatever their status."""
    async with answering() as (provider, server):
        await provider.complete(ASK, deadline_s=5)
        with pytest.raises(ProviderRefused):
            await provider.complete(replace(ASK, model="unknown"), deadline_s=5)
        await provider.complete(ASK, deadline_s=5)
        assert server.connections == 1
        for _ in range(3):
            await asyncio.gather(*(provider.complete(ASK, deadline_s=5) for _ in range(8)))
        assert server.connections <= 8


async def test_connection_that_the_server_closed_is_not_used_again() -> None:
    """A server may close an idle connection at any time."""
    async with answering() as (provider, server):
        for _ in range(5):
            await provider.complete(ASK, deadline_s=5)
            server.hang_up()
            await asyncio.sleep(0.01)
        assert server.connections == 5


async def test_log_probabilities_are_read_when_they_were_asked_for() -> None:
    """Token by token, beside the likeliest alternatives."""
    top = [{"token": "24", "logprob": -0.1, "bytes": [50, 52]}, {"token": "12", "logprob": -3.0}]
    document = completion()
    document["choices"][0]["logprobs"] = {
        "content": [{"token": "24", "logprob": -0.1, "bytes": [50, 52], "top_logprobs": top}],
        "refusal": None,
    }
    async with answering(always(document)) as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert answer.logprobs == (TokenLogprob("24", -0.1, (("24", -0.1), ("12", -3.0))),)


# -- Bounds ----------------------------------------------------------------------------------------


async def test_calls_at_once_are_limited() -> None:
    """The server never sees more than the limit, and every call is answered."""

    async def slow(asked: Asked) -> Act:
        await asyncio.sleep(0.01)
        return as_documented(asked)

    async with answering(slow, concurrency=3) as (provider, server):
        await asyncio.gather(*(provider.complete(ASK, deadline_s=5) for _ in range(12)))
        assert server.max_in_flight == 3
        assert len(server.asked) == 12


async def test_waiting_for_a_slot_counts_against_the_deadline() -> None:
    """A call that never got its turn has cost nothing."""
    release = asyncio.Event()
    async with answering(held(release), concurrency=1) as (provider, server):
        first = asyncio.create_task(provider.complete(ASK, deadline_s=5))
        await server.until(lambda seen: seen.in_flight == 1)
        with pytest.raises(ProviderUnavailable, match=r"no free slot within 0\.05 s") as failed:
            await provider.complete(ASK, deadline_s=0.05)
        assert not failed.value.may_have_worked
        release.set()
        assert (await first).text == "24"
        assert len(server.asked) == 1


async def test_deadline_ends_a_call_that_was_sent() -> None:
    """In time, and so that the server notices."""
    async with answering(held(asyncio.Event())) as (provider, server):
        started = time.monotonic()
        with pytest.raises(ProviderUnavailable, match=r"no answer within 0\.1 s") as failed:
            await provider.complete(ASK, deadline_s=0.1)
        assert time.monotonic() - started < 1
        assert failed.value.may_have_worked
        await server.until(lambda seen: seen.abandoned == 1)


async def test_no_time_left_sends_nothing() -> None:
    """A deadline that has passed already costs nothing."""
    async with answering() as (provider, server):
        with pytest.raises(ProviderUnavailable) as failed:
            await provider.complete(ASK, deadline_s=0.0)
        assert not failed.value.may_have_worked
        assert server.asked == []


async def test_cancelled_call_closes_its_connection_and_frees_its_slot() -> None:
    """The server can stop working for a client that left, and others get their turn."""
    release = asyncio.Event()
    async with answering(held(release), concurrency=1) as (provider, server):
        call = asyncio.create_task(provider.complete(ASK, deadline_s=5))
        await server.until(lambda seen: seen.in_flight == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.until(lambda seen: seen.abandoned == 1)
        release.set()
        assert (await provider.complete(ASK, deadline_s=5)).text == "24"


async def test_cancelled_while_waiting_for_a_slot_keeps_none() -> None:
    """A queue of callers that gave up does not hold up the next."""
    release = asyncio.Event()
    async with answering(held(release), concurrency=1) as (provider, server):
        first = asyncio.create_task(provider.complete(ASK, deadline_s=5))
        await server.until(lambda seen: seen.in_flight == 1)
        waiting = [asyncio.create_task(provider.complete(ASK, deadline_s=5)) for _ in range(5)]
        await asyncio.sleep(0)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        release.set()
        await first
        assert (await provider.complete(ASK, deadline_s=5)).text == "24"
        assert len(server.asked) == 2


def test_document_of_the_server_is_json() -> None:
    """The stand-in itself answers as a vendor would."""
    asked = Asked("POST", "/v1/chat/completions", {"authorization": "Bearer wrong"}, b"{}")
    act = as_documented(asked)
    assert isinstance(act, bytes)
    head, _, body = act.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 Unauthorized")
    assert json.loads(body)["error"]["code"] == "invalid_api_key"
