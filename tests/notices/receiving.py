"""A receiver of webhooks, written from the specification and not from our own code.

docs: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

TOLERANCE_S: Final = 300


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of the signatures is of this secret, and recent."""
    if abs(time.time() - int(headers["webhook-timestamp"])) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.split("_", 1)[1])
    told = b"%s.%s.%s" % (
        headers["webhook-id"].encode(),
        headers["webhook-timestamp"].encode(),
        body,
    )
    due = base64.b64encode(hmac.digest(key, told, hashlib.sha256)).decode()
    signatures = [part.split(",", 1) for part in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(due, said) for version, said in signatures)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The body, read."""
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """Answers with each of `statuses` in turn, and with 204 when there are no more.

    None is a request that is never answered; 3xx sends the caller to `/elsewhere`.
    """

    origin: str
    statuses: Sequence[int | None] = ()
    received: list[Received] = field(default_factory=list[Received])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/hook") -> str:
        """Where it listens."""
        return self.origin + path

    async def have_come(self, count: int) -> Sequence[Received]:
        """The requests, once there are so many."""
        async with asyncio.timeout(20):
            while len(self.received) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.received

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What becomes of one request."""
        said = Received(request.path, dict(request.headers.items()), await request.read())
        number = len(self.received)
        self.received.append(Received(said.path, _lower(said.headers), said.body))
        self.arrived.set()
        status = self.statuses[number] if number < len(self.statuses) else 204
        if status is None:
            await asyncio.Event().wait()
        assert status is not None
        if 300 <= status < 400:
            return web.Response(status=status, headers={"Location": self.url("/elsewhere")})
        return web.Response(status=status, body=None if status == 204 else b"x" * 100_000)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@asynccontextmanager
async def receiver(*statuses: int | None) -> AsyncGenerator[Receiver]:
    """A receiver on this machine, over plain HTTP."""
    made = Receiver("", statuses)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
