"""The ways to make one and the same upstream call that are compared."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
import httpx
import httpx2
import msgspec
from httpx_aiohttp import HttpxAiohttpClient

from app.providers.aiohttp_transport import AiohttpTransport
from app.providers.completion import CompletionRequest, Message
from app.providers.openai import OpenAIProvider

Close = Callable[[], Awaitable[None]]
Call = Callable[[], Awaitable[object]]
Open = Callable[[str], tuple[Call, Close]]

KEY: Final = "sk-benchmark-0123456789"
HEADERS: Final = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
REQUEST: Final = CompletionRequest(
    model="gpt-4.1",
    messages=(Message("system", "Answer briefly. " * 6), Message("user", "What is it? " * 12)),
    max_output_tokens=256,
    problem="What is it?",
    op="t1",
    seed=7,
)
BODY: Final = msgspec.json.encode(
    {"model": REQUEST.model, "messages": REQUEST.messages, "max_tokens": 256, "n": 1, "seed": 7}
)
PATH: Final = "/chat/completions"


def with_aiohttp(base_url: str) -> tuple[Call, Close]:
    """The yardstick."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )

    async def call() -> bytes:
        async with session.post(
            base_url + PATH, data=BODY, headers=HEADERS, allow_redirects=False
        ) as response:
            return await response.read()

    return call, session.close


def with_transport(base_url: str) -> tuple[Call, Close]:
    """What Fathom ships: httpx2's requests and responses over aiohttp."""
    transport, url = AiohttpTransport(), httpx2.URL(base_url + PATH)
    headers = httpx2.Headers(HEADERS)

    async def call() -> bytes:
        request = httpx2.Request("POST", url, headers=headers, content=BODY)
        return await (await transport.handle_async_request(request)).aread()

    return call, transport.aclose


def with_transport_in_client(base_url: str) -> tuple[Call, Close]:
    """The same transport behind httpx2's client."""
    client = httpx2.AsyncClient(transport=AiohttpTransport())
    return _posting_2(client, base_url), client.aclose


def with_httpx2(base_url: str) -> tuple[Call, Close]:
    """Its successor as it comes."""
    client = httpx2.AsyncClient(trust_env=False)
    return _posting_2(client, base_url), client.aclose


def with_httpx_aiohttp(base_url: str) -> tuple[Call, Close]:
    """The first httpx over the aiohttp transport that others publish."""
    client = HttpxAiohttpClient(trust_env=False)
    return _posting(client, base_url), client.aclose


def with_httpx(base_url: str) -> tuple[Call, Close]:
    """The first httpx as it comes."""
    client = httpx.AsyncClient(trust_env=False)
    return _posting(client, base_url), client.aclose


def with_provider(base_url: str) -> tuple[Call, Close]:
    """All of OpenAIProvider: encode, wait for a slot, deadline, call, read, parse."""
    provider = OpenAIProvider(
        name="benchmark", base_url=base_url, api_key=KEY, transport=AiohttpTransport()
    )

    async def call() -> object:
        return await provider.complete(REQUEST, deadline_s=60)

    return call, provider.aclose


def _posting(client: httpx.AsyncClient, base_url: str) -> Call:
    async def call() -> bytes:
        return (await client.post(base_url + PATH, content=BODY, headers=HEADERS)).content

    return call


def _posting_2(client: httpx2.AsyncClient, base_url: str) -> Call:
    async def call() -> bytes:
        return (await client.post(base_url + PATH, content=BODY, headers=HEADERS)).content

    return call


YARDSTICK: Final = "aiohttp"
CLIENTS: Final[Mapping[str, Open]] = {
    YARDSTICK: with_aiohttp,
    "AiohttpTransport": with_transport,
    "httpx2 over AiohttpTransport": with_transport_in_client,
    "httpx over httpx-aiohttp": with_httpx_aiohttp,
    "httpx2": with_httpx2,
    "httpx": with_httpx,
    "OpenAIProvider.complete": with_provider,
}
