import asyncio
import gzip
import json
import logging
import socket
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import aiohttp
import httpx2
import pytest
from aiohttp.client_reqrep import ConnectionKey

from app.providers.aiohttp_transport import translate
from app.providers.completion import (
    ProviderError,
    ProviderInvalidResponse,
    ProviderRefused,
    ProviderUnavailable,
    Usage,
)
from app.providers.endpoint import REPLY_BYTES_MAX
from app.providers.openai import OpenAIProvider
from tests.providers.test_openai import ASK, always, answering, held, provider_at
from tests.providers.upstream import (
    KEY,
    Asked,
    Part,
    Upstream,
    as_documented,
    completion,
    error,
    respond,
    upstream,
)

SECRET: Final = "what only the prompt says"
SECRETIVE: Final = replace(ASK, messages=[replace(ASK.messages[0], content=SECRET)])
USAGE: Final = Usage(19, 10, cached_tokens=16, reasoning_tokens=4)


async def failure(provider: OpenAIProvider, *, deadline_s: float = 5.0) -> ProviderError:
    """The error of one call; it must tell nothing that is not its reader's business."""
    with pytest.raises(ProviderError) as failed:
        await provider.complete(SECRETIVE, deadline_s=deadline_s)
    told = "".join(traceback.format_exception(failed.value)) + repr(failed.value)
    assert failed.value.__context__ is None
    assert failed.value.__cause__ is None
    assert KEY not in told + repr(vars(failed.value))
    assert SECRET not in told
    assert failed.value.detail.startswith("acme: ")
    assert len(failed.value.detail) <= 200
    return failed.value


@dataclass(frozen=True)
class Fault:
    """What the upstream does, and the error that it must become."""

    name: str
    does: bytes | Part
    kind: type[ProviderError]
    says: str
    may_have_worked: bool = True
    usage: Usage | None = None


def status_fault(status: int, kind: type[ProviderError], *, may_have_worked: bool) -> Fault:
    """A status with the vendor's error object."""
    does = respond(error(f"{SECRET} {KEY}", "some_code"), status=status)
    return Fault(f"status {status}", does, kind, f"HTTP {status} (some_code)", may_have_worked)


def broken(name: str, sent: bytes, says: str = "") -> Fault:
    """A connection that ends after the bytes."""
    return Fault(name, Part(sent), ProviderUnavailable, says)


def unreadable(name: str, body: bytes) -> Fault:
    """A success whose body is no chat completion."""
    return Fault(name, respond(body=body), ProviderInvalidResponse, NOT_A_COMPLETION)


def unusable(name: str, document: object, says: str, usage: Usage | None = USAGE) -> Fault:
    """A success whose document is no answer."""
    return Fault(name, respond(document), ProviderInvalidResponse, says, usage=usage)


def saying(**fields: object) -> list[dict[str, object]]:
    """The choices of a completion, with one message."""
    return [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": "stop"}]


CHUNKED: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
NOT_A_COMPLETION: Final = "HTTP 200 without a chat completion"
HUNG_UP: Final = "the connection was closed before the answer ended"
GZIP: Final = {"content-encoding": "gzip"}
COMPRESSED: Final = respond(body=gzip.compress(json.dumps(completion()).encode()), headers=GZIP)
BUSY: Final = respond(body=gzip.compress(b"{}"), headers=GZIP, status=429)
OVERLOADED: Final = b"HTTP/1.1 529 Overloaded\r\ncontent-length: 0\r\n\r\n"
WHOLE: Final = json.dumps(completion()).encode()

LATER: Final = (408, 409, 425, 429)
REFUSED: Final = (300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 413, 415, 422, 451)
DOWN: Final = (500, 501, 502, 503, 504, 507)
ODD: Final = (201, 202, 206)

FAULTS: Final = [
    *(status_fault(status, ProviderUnavailable, may_have_worked=False) for status in LATER),
    *(status_fault(status, ProviderRefused, may_have_worked=False) for status in REFUSED),
    *(status_fault(status, ProviderUnavailable, may_have_worked=True) for status in DOWN),
    *(status_fault(status, ProviderInvalidResponse, may_have_worked=True) for status in ODD),
    Fault("status 529", OVERLOADED, ProviderUnavailable, "HTTP 529"),
    # -- The connection
    broken("hangs up at once", b"", HUNG_UP),
    broken("hangs up in the head", b"HTTP/1.1 20", HUNG_UP),
    broken("hangs up in the body", respond(completion())[:-9], HUNG_UP),
    broken("hangs up between chunks", CHUNKED + b'7\r\n{"id":1\r\n', HUNG_UP),
    broken("counts a chunk wrong", CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    broken("says what is not HTTP", b"\x16\x03\x01\x00\xa5" * 9, "what came back is not HTTP"),
    # -- A success that is none
    unreadable("HTML", b"<!doctype html><title>Just a moment\xe2\x80\xa6</title>"),
    unreadable("plain text", b"upstream connect error or disconnect/reset before headers"),
    unreadable("nothing", b""),
    unreadable("truncated JSON", WHOLE[:-20]),
    unreadable("two documents", WHOLE + WHOLE),
    unreadable("not UTF-8", b'{"model":"\xff"}'),
    unreadable("nested too deep", b'{"x":' + b"[" * 200_000),
    unreadable("an array", b"[]"),
    Fault("compressed", COMPRESSED, ProviderInvalidResponse, NOT_A_COMPLETION),
    Fault("compressed refusal", BUSY, ProviderUnavailable, "HTTP 429", may_have_worked=False),
    unusable("an error", error(SECRET, "oops"), "an error instead of an answer", usage=None),
    unusable("an error in words", {"error": SECRET}, "an error instead of an answer", usage=None),
    unusable("error and answer", completion(error={"code": 502}), "an error instead of an answer"),
    unusable("no choices", completion(choices=[]), "no choices"),
    unusable("choices null", completion(choices=None), NOT_A_COMPLETION, usage=None),
    unusable("no message", completion(choices=[{"finish_reason": "stop"}]), "", usage=None),
    unusable("no content", completion(choices=saying()), "HTTP 200 with no text"),
    unusable("content null", completion(None), "HTTP 200 with no text"),
    unusable("content no text", completion(choices=saying(content=1)), "", usage=None),
    unusable("a tool is called", completion(None, finish_reason="tool_calls"), "did not finish"),
    unusable("a function is called", completion("", finish_reason="function_call"), ""),
    unusable("broke off", completion("An err", finish_reason="error"), "did not finish"),
    unusable("no finish", completion(choices=[{"message": {"content": "x"}}]), "did not finish"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault_of_the_upstream_is_never_an_answer(fault: Fault) -> None:
    """Each says what to do next and whether it may have cost money, and is asked for once."""
    async with answering(lambda _: fault.does) as (provider, server):
        failed = await failure(provider)
    assert type(failed) is fault.kind
    assert failed.may_have_worked is fault.may_have_worked
    assert fault.says in failed.detail
    assert getattr(failed, "usage", None) == fault.usage
    assert len(server.asked) == 1


# -- No answer at all ------------------------------------------------------------------------------


async def test_refused_connection_has_cost_nothing() -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    provider = provider_at(Upstream(as_documented), base_url=f"http://127.0.0.1:{port}/v1")
    failed = await failure(provider)
    await provider.aclose()
    assert type(failed) is ProviderUnavailable
    assert not failed.may_have_worked
    assert failed.detail == "acme: no connection: Connection refused"


@pytest.mark.parametrize("in_time", ["connect", "deadline"])
async def test_connection_that_is_not_made_in_time_has_cost_nothing(in_time: str) -> None:
    """A server that takes the connection and never speaks TLS; nothing of ours left before."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        provider = provider_at(
            Upstream(as_documented),
            base_url=f"https://127.0.0.1:{silent.getsockname()[1]}/v1",
            connect_timeout_s=0.1 if in_time == "connect" else 5.0,
        )
        failed = await failure(provider, deadline_s=5.0 if in_time == "connect" else 0.1)
        await provider.aclose()
    assert type(failed) is ProviderUnavailable
    assert not failed.may_have_worked
    assert "no connection" in failed.detail


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n", respond(completion())[:-9]]
)
async def test_silence_of_the_upstream_ends_the_call(sent: bytes) -> None:
    """Before, in and after the head of its response."""
    async with answering(lambda _: Part(sent, then="silence"), read_timeout_s=0.1) as (
        provider,
        server,
    ):
        failed = await failure(provider)
        assert type(failed) is ProviderUnavailable
        assert failed.may_have_worked
        assert failed.detail == "acme: nothing more came in time"
        await server.until(lambda seen: seen.abandoned == 1)


async def test_deadline_holds_while_the_body_comes() -> None:
    """A server that keeps sending does not keep us."""
    most = Part(respond(completion())[:-9], then="silence")
    async with answering(lambda _: most) as (provider, server):
        failed = await failure(provider, deadline_s=0.1)
        assert type(failed) is ProviderUnavailable
        assert failed.may_have_worked
        await server.until(lambda seen: seen.abandoned == 1)


async def test_closing_the_provider_ends_its_calls() -> None:
    """A gateway that stops does not wait for a model."""
    async with answering(held(asyncio.Event())) as (provider, server):
        call = asyncio.create_task(failure(provider))
        await server.until(lambda seen: seen.in_flight == 1)
        await provider.aclose()
        assert (await call).may_have_worked


def test_name_that_does_not_resolve_is_no_connection() -> None:
    """Said of aiohttp's error itself: a test can look up no name."""
    key = ConnectionKey("x.example", 443, True, True, None, None, None)  # noqa: FBT003 - aiohttp's
    unresolved = aiohttp.ClientConnectorDNSError(key, OSError(None, "no such name"))
    translated = translate(unresolved)
    assert isinstance(translated, httpx2.ConnectError)
    assert str(translated) == "its name does not resolve"


# -- Size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_endless_reply_is_cut_off(framing: str) -> None:
    """No more than the bound is kept, and the rest is not waited for."""
    endless = b"x" * (REPLY_BYTES_MAX + 2**20)
    if framing == "chunked":
        does = CHUNKED + b"%x\r\n" % (2 * len(endless)) + endless
    else:
        does = respond(body=endless, headers={"content-length": str(2 * len(endless))})
    async with answering(lambda _: Part(does, then="silence")) as (provider, server):
        failed = await failure(provider)
        assert type(failed) is ProviderInvalidResponse
        assert f"more than {REPLY_BYTES_MAX} bytes" in failed.detail
        await server.until(lambda seen: seen.abandoned == 1)


# -- How long to wait ------------------------------------------------------------------------------


def date_in(seconds: float) -> str:
    """A date as HTTP writes it."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "least_s", "most_s"),
    [
        ({"retry-after": "7"}, 7.0, 7.0),
        ({"retry-after": "0"}, 0.0, 0.0),
        ({"retry-after": "1.5"}, 1.5, 1.5),
        ({"retry-after-ms": "250"}, 0.25, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0, 1.0),
        ({"retry-after": "-3"}, 0.0, 0.0),
        # Wide, because the date is written when the test is collected.
        ({"retry-after": date_in(36_000)}, 30_000.0, 36_000.0),
        ({"retry-after": date_in(-3_600)}, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_vendor_says_how_long_to_wait(
    status: int, headers: Mapping[str, str], least_s: float, most_s: float
) -> None:
    """In seconds, in milliseconds or as a date."""
    does = respond(error("slow down", "rate_limit_exceeded"), status=status, headers=headers)
    async with answering(lambda _: does) as (provider, _):
        failed = await failure(provider)
    assert isinstance(failed, ProviderUnavailable)
    assert failed.retry_after_s is not None
    assert least_s <= failed.retry_after_s <= most_s


@pytest.mark.parametrize("written", ["soon", "nan", "inf", "", "Wed, 99 Foo 2026 00:00:00 GMT"])
async def test_wait_that_cannot_be_read_is_not_guessed(written: str) -> None:
    """The retry loop has a habit of its own."""
    does = respond(error("slow", "slow"), status=429, headers={"retry-after": written})
    async with answering(lambda _: does) as (provider, _):
        failed = await failure(provider)
    assert isinstance(failed, ProviderUnavailable)
    assert failed.retry_after_s is None


# -- Secrets ---------------------------------------------------------------------------------------


async def test_redirect_is_not_followed() -> None:
    """Else whoever answers could have our key sent to any address."""
    async with upstream() as elsewhere:

        def redirect(_: Asked) -> bytes:
            return respond({}, status=307, headers={"location": elsewhere.base_url})

        async with answering(redirect) as (provider, _):
            assert type(await failure(provider)) is ProviderRefused
        assert elsewhere.connections == 0


async def test_cookies_are_not_kept() -> None:
    """Calls of one tenant leave no trace on those of another."""
    cookie = respond(completion(), headers={"set-cookie": "tenant=1; Path=/"})
    async with upstream(lambda _: cookie) as server:
        # Cookies of bare addresses are kept by no client.
        provider = provider_at(server, base_url=server.base_url.replace("127.0.0.1", "localhost"))
        for _ in range(2):
            await provider.complete(ASK, deadline_s=5)
        await provider.aclose()
    assert "cookie" not in server.asked[1].headers


async def test_key_is_nowhere_but_in_its_header(caplog: pytest.LogCaptureFixture) -> None:
    """Not in logs at their chattiest, nor in what a debugger prints of the provider."""
    caplog.set_level(logging.DEBUG)

    def echo(asked: Asked) -> bytes:
        said = f"{asked.headers['authorization']} {asked.body.decode()}"
        return respond(error(said, KEY, kind=said), status=401, headers={"x-request-id": KEY})

    async with answering(echo) as (provider, _):
        failed = await failure(provider)
        assert failed.detail == "acme: HTTP 401: our key is not accepted, or may not do this"
        assert KEY not in repr(provider) + caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("code", ["a-b", "Bad Code", "x" * 65, 7, None, [], "sk_1"])
async def test_only_a_word_of_the_vendor_s_is_passed_on(code: Any) -> None:  # noqa: ANN401 - JSON
    """What is not plainly a code may be anything."""
    async with answering(
        lambda _: respond({"error": {"code": code, "type": None}}, status=400)
    ) as (provider, _):
        assert (await failure(provider)).detail == "acme: HTTP 400"


# -- Nothing is left over --------------------------------------------------------------------------


async def test_failures_keep_no_slot() -> None:
    """After any number of faults the provider still answers."""
    faults = iter(FAULTS)

    def script(asked: Asked) -> bytes | Part:
        fault = next(faults, None)
        return as_documented(asked) if fault is None else fault.does

    async with answering(script, concurrency=1) as (provider, _):
        for _ in FAULTS:
            await failure(provider)
        assert (await provider.complete(ASK, deadline_s=5)).text == "24"


async def test_missing_usage_is_not_a_fault() -> None:
    """It is an answer whose cost has to be estimated."""
    document = completion()
    del document["usage"]
    async with answering(always(document)) as (provider, _):
        answer = await provider.complete(ASK, deadline_s=5)
    assert answer.text == "24"
    assert answer.usage is None


async def test_transport_may_be_httpx_s_own() -> None:
    """Whether bytes have left is known from any transport that tells httpx's trace events."""
    plain = httpx2.AsyncHTTPTransport(trust_env=False)
    async with answering(held(asyncio.Event()), transport=plain) as (provider, server):
        assert (await failure(provider, deadline_s=0.1)).may_have_worked
        server.script = as_documented
        assert (await provider.complete(ASK, deadline_s=5)).text == "24"
