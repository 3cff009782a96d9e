"""The httpx2 transport that calls upstream: httpx's interface, aiohttp's connections and parser.

CPU of a call to a local upstream, as ratios within one run of `python -m benchmarks.upstream` (two
busy cores; the yardstick itself took 212 and 290 us), with 16 calls in flight and with one:

    aiohttp by itself, the yardstick    1.0   1.0
    this transport                      1.7   1.3
    httpx2's client over it             2.7   2.2
    httpx over httpx-aiohttp 0.2        3.4   2.6
    httpx2 2.16                         6.4   4.0
    httpx 0.28                         13.5   3.9
    all of OpenAIProvider.complete      2.0   1.5

httpx has had no stable release since December 2024; httpx2 continues it. httpx-aiohttp is dearer
than this, and reports a server that hangs up as a time-out while connecting: to us that is the
difference between a call that may have been billed and one that cannot have been. Both libraries
that are used are maintained (httpx2: BSD-3-Clause; aiohttp: Apache-2.0 and MIT).

It is used as a transport, not through a client, which leaves out what a gateway must not do: follow
redirects, keep cookies, read `.netrc`, decide by the environment where a key is sent. Hence proxy
variables (`HTTPS_PROXY`, …) are not read: a proxy is named in the configuration, for each provider.
"""

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import httpx2
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

BODY_STARTS = "http11.send_request_body.started"
"""The trace event told before the first byte of a body leaves, named as httpcore2 names it."""

_Trace = Callable[[str, Mapping[str, object]], Awaitable[None]]


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """One pool of connections; to be made inside the event loop that will use it.

    `ca_file` holds the authorities to trust instead of the system's. `proxy` is the URL of an HTTP
    proxy for every call; https goes through it by CONNECT. The number of connections is not bound
    here: whoever calls bounds the calls.
    """

    def __init__(self, *, ca_file: Path | None = None, proxy: str | None = None) -> None:
        trusted = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=trusted),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it and return when the head of the response is there.

        Of `extensions`, `timeout` (connect, which includes the name's look-up and TLS, and read)
        and `trace` (BODY_STARTS only) are honoured. Raises httpx2.TransportError.
        """
        timeout: Mapping[str, float | None] = request.extensions.get("timeout", {})
        try:
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=[(key.decode(), value.decode()) for key, value in request.headers.raw],
                data=_Body(await request.aread(), request.extensions.get("trace")),
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error) from error
        return httpx2.Response(
            response.status, headers=response.raw_headers, stream=_Stream(response), request=request
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Body(aiohttp.Payload):
    """Bytes that say when they begin to leave."""

    def __init__(self, content: bytes, trace: _Trace | None) -> None:
        super().__init__(content)
        self._content, self._trace, self._size = content, trace, len(content)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._content.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        if self._trace is not None:
            await self._trace(BODY_STARTS, {})
        await writer.write(self._content)


class _Stream(httpx2.AsyncByteStream):
    """The body of a response, as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error) from error

    async def aclose(self) -> None:
        # A connection whose body was read to its end is back in the pool by now; any other has
        # bytes on it that nobody will read.
        self._response.close()


def translate(error: aiohttp.ClientError | OSError) -> httpx2.TransportError:
    """The same fault in httpx2's terms; says nothing of addresses, headers or bodies."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx2.ConnectTimeout("no connection in time")
        case aiohttp.ServerTimeoutError():
            return httpx2.ReadTimeout("nothing more came in time")
        case aiohttp.ClientHttpProxyError():
            return httpx2.ProxyError(f"the proxy answered {error.status}")
        case aiohttp.ClientProxyConnectionError():
            return httpx2.ProxyError("no connection to the proxy")
        case aiohttp.ClientConnectorDNSError():
            return httpx2.ConnectError("its name does not resolve")
        case aiohttp.ClientConnectorCertificateError():
            return httpx2.ConnectError("its certificate is not trusted")
        case aiohttp.ClientConnectorError():
            return httpx2.ConnectError(f"no connection: {_reason(error)}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return httpx2.RemoteProtocolError("the connection was closed before the answer ended")
        case aiohttp.ClientResponseError():
            return httpx2.RemoteProtocolError("what came back is not HTTP")
        case _:
            return httpx2.ReadError(f"the connection broke: {type(error).__name__}")


def _reason(error: aiohttp.ClientConnectorError) -> str:
    return os.strerror(error.os_error.errno) if error.os_error.errno else type(error).__name__
