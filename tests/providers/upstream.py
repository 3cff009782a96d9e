"""A chat-completions server to test against: real sockets, HTTP/1.1, and faults on request.

Left alone it behaves as OpenAI documents (developers.openai.com/api/reference/resources/chat and
/api/docs/guides/error-codes). A script answers instead: with bytes to send, or with a `Part` of
them. `python -m tests.providers.upstream 8000` serves it alone.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

Json = dict[str, Any]

KEY: Final = "sk-test-4f1d0c7e2b9a"
MODEL: Final = "gpt-test"
PATH: Final = "/v1/chat/completions"
PARAMETERS: Final = frozenset(
    {
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "reasoning_effort",
        "seed",
        "temperature",
        "top_logprobs",
        "top_p",
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Json:
        """The body, parsed."""
        document: Json = json.loads(self.body)
        return document


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes after which the server hangs up, or falls silent until the client hangs up."""

    sent: bytes
    then: Literal["hang up", "silence"] = "hang up"


Act = bytes | Part
Script = Callable[[Asked], Act | Awaitable[Act]]


def respond(
    document: object = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> bytes:
    """A response as sent: `document` as JSON, or `body` as it is."""
    content = json.dumps(document).encode() if body is None else body
    lines = {
        "content-type": "application/json",
        "x-request-id": "req_1",
        "content-length": str(len(content)),
    } | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + content


def completion(text: str | None = "24", *, finish_reason: str = "stop", **changed: object) -> Json:
    """A chat completion object; `changed` are fields of the whole."""
    message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": f"{MODEL}-2026-01-01",
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        ],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
        },
        "service_tier": "default",
    } | changed


def error(message: str, code: str, *, kind: str = "invalid_request_error") -> Json:
    """An error object."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def as_documented(asked: Asked) -> Act:
    """What the vendor answers to a request, be it right or wrong."""
    given = asked.headers.get("authorization", "").removeprefix("Bearer ")
    if (asked.method, asked.path) != ("POST", PATH):
        return respond(error(f"Invalid URL ({asked.path})", "unknown_url"), status=404)
    if given != KEY:
        # The vendor does quote the key, masked in part.
        return respond(error(f"Incorrect API key: {given}", "invalid_api_key"), status=401)
    document = asked.document
    unknown = document.keys() - PARAMETERS
    if unknown:
        said = f"Unrecognized request arguments: {sorted(unknown)}"
        return respond(error(said, "unknown_parameter"), status=400)
    if document["model"] != MODEL:
        return respond(error("The model does not exist", "model_not_found"), status=404)
    return respond(completion())


class Upstream:
    """A running server and what it has seen.

    `abandoned` counts the clients that left before their answer was complete, `max_in_flight` the
    most requests that were being answered at once.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = self.in_flight = self.max_in_flight = self.abandoned = 0
        self.base_url = ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._news = asyncio.Event()

    async def until(self, holds: Callable[["Upstream"], bool], *, timeout_s: float = 5.0) -> None:
        """Wait for something to have been seen; TimeoutError if it is not."""
        async with asyncio.timeout(timeout_s):
            while not holds(self):
                self._news.clear()
                await self._news.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for as long as both sides keep it."""
        self.connections += 1
        self._writers.add(writer)
        # Clients in these tests leave in every way there is.
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = await _read(reader)
        self.asked.append(asked)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self._news.set()
        act = await _unless_gone(reader, self._act(asked))
        self.in_flight -= 1
        if isinstance(act, bytes):
            writer.write(act)
            await writer.drain()
            return True
        if act is not None:
            writer.write(act.sent)
            await writer.drain()
            if act.then == "hang up":
                return False
            await _gone(reader)
        self.abandoned += 1
        self._news.set()
        return False

    async def _act(self, asked: Asked) -> Act:
        act = self.script(asked)
        return act if isinstance(act, bytes | Part) else await act


async def _read(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body)


async def _gone(reader: asyncio.StreamReader) -> None:
    # Nothing is asked while an answer is awaited, so whatever is read is the end.
    with suppress(ConnectionError):
        await reader.read(1)


async def _unless_gone(reader: asyncio.StreamReader, work: Awaitable[Act]) -> Act | None:
    """What `work` comes to, or None when the client left first."""

    async def done() -> Act:
        return await work

    async with asyncio.TaskGroup() as tasks:
        working, leaving = tasks.create_task(done()), tasks.create_task(_gone(reader))
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        leaving.cancel()
    return None if working.cancelled() else working.result()


@asynccontextmanager
async def upstream(
    script: Script = as_documented, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncGenerator[Upstream]:
    """A server on this machine until the block ends."""
    running = Upstream(script)
    server = await asyncio.start_server(running.serve, "127.0.0.1", port, ssl=tls)
    scheme = "http" if tls is None else "https"
    running.base_url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield running
    finally:
        server.close()
        running.hang_up()
        await server.wait_closed()


async def _serve_alone(port: int) -> None:
    async with upstream(port=port) as running:
        print(running.base_url, flush=True)  # noqa: T201 - whoever started it waits for this
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_alone(int(sys.argv[1])))
