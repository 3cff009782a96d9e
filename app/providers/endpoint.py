"""One address of a vendor: calls to it are bounded in number, in time and in what they may answer.

A call is made once: whether to repeat it is for `solve/attempt` to say. Nothing here knows a wire
format, follows a redirect, or lets a header, an address or a body into a message.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import httpx2

from app.providers.completion import ProviderInvalidResponse, ProviderUnavailable

REPLY_BYTES_MAX: Final = 16 * 2**20
"""Room for 35,000 tokens with five log-probabilities each, or for millions without."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A response that was read to its end, whatever its status."""

    status: int
    headers: httpx2.Headers
    body: bytes


class _Call:
    """How far a call has come: what it waits for, and whether its body began to leave."""

    def __init__(self) -> None:
        self.stage, self.is_sent = "no free slot", False

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        if event.endswith("send_request_body.started"):
            self.stage, self.is_sent = "no answer", True


class Endpoint:
    """Posts to `url` with `headers` through `transport`, which it closes in the end.

    `name` is the provider's, for messages. At most `concurrency` calls run at once; the others wait
    their turn within their own deadlines. `connect_timeout_s` bounds the look-up of the name, the
    connection and TLS; `read_timeout_s` each silence after that.
    """

    def __init__(
        self,
        *,
        name: str,
        url: httpx2.URL,
        headers: Sequence[tuple[str, str]],
        transport: httpx2.AsyncBaseTransport,
        connect_timeout_s: float,
        read_timeout_s: float,
        concurrency: int,
    ) -> None:
        self._name, self._url, self._transport = name, url, transport
        # A compressed reply could not be bounded before it is in memory, and saves nothing beside
        # the time that a model takes to write it: whoever sends one all the same is not understood.
        self._headers = [*headers, ("Accept-Encoding", "identity")]
        self._timeout = {"connect": connect_timeout_s, "read": read_timeout_s}
        self._slots = asyncio.Semaphore(concurrency)

    async def post(
        self,
        body: bytes,
        *,
        deadline_s: float,
        headers: Mapping[str, str] = NO_HEADERS,
        path: str = "",
    ) -> HttpReply:
        """One exchange, all of it within `deadline_s` seconds, the wait for a slot included.

        `headers` are this call's own, beside the endpoint's; `path` goes after the endpoint's.

        Raises ProviderUnavailable, which says whether `body` had begun to leave, or
        ProviderInvalidResponse when the reply cannot be read. When cancelled it closes the
        connection, so that the vendor can stop too.
        """
        call, deadline = _Call(), asyncio.timeout(deadline_s)
        try:
            async with deadline, self._slots:
                call.stage = "no connection"
                return await self._exchange(body, headers, path, call)
        except TimeoutError:
            if not deadline.expired():
                raise
            fault = f"{call.stage} within {deadline_s:.3g} s"
        except httpx2.TransportError as error:
            fault = str(error)[:150]
        # Outside the handlers, so that no cause is kept: a client's errors hold the request.
        raise ProviderUnavailable(f"{self._name}: {fault}", may_have_worked=call.is_sent)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _exchange(
        self, body: bytes, headers: Mapping[str, str], path: str, call: _Call
    ) -> HttpReply:
        request = httpx2.Request(
            "POST",
            self._url.copy_with(path=self._url.path + path) if path else self._url,
            headers=[*self._headers, *headers.items()],
            content=body,
            extensions={"timeout": self._timeout, "trace": call.trace},
        )
        response = await self._transport.handle_async_request(request)
        try:
            return HttpReply(response.status_code, response.headers, await self._read(response))
        finally:
            await response.aclose()

    async def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > REPLY_BYTES_MAX:
                raise ProviderInvalidResponse(
                    f"{self._name}: a reply of more than {REPLY_BYTES_MAX} bytes"
                )
        return bytes(body)


def under(base_url: str, path: str) -> httpx2.URL:
    """The address of `path` under `base_url`; a query (Azure's api-version) is kept.

    Raises ValueError for what cannot be meant, without quoting it: it may hold a password.
    """
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        raise ValueError("base_url: not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("base_url: expected http:// or https:// and a host")
    if url.userinfo or url.fragment:
        raise ValueError("base_url: must hold no user, password or fragment")
    return url.copy_with(path=url.path.rstrip("/") + path)


def printable(api_key: str) -> str:
    """The key, if a header can carry it; else ValueError, without quoting it."""
    # Most often it is the line end of the file that the key was read from.
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
        raise ValueError("api_key: must be printable ASCII without spaces around it")
    return api_key
