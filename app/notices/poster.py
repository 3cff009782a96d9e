"""Sending over HTTP: one request, one answer's status, nothing followed and nothing read.

A tenant chose the URL, so the address that its name leads to is judged in the moment in which it is
connected to: what was looked up and what is reached cannot differ, however quickly the name changes
its mind.
"""

import errno
import socket
from collections.abc import Collection, Mapping
from typing import Final

import aiohttp
from aiohttp import ClientTimeout
from aiohttp.abc import AbstractResolver
from yarl import URL

from app import __version__
from app.errors import InvalidRequest
from app.notices.addresses import check_url, is_public, origin

TIMEOUT_S: Final = 10.0
"""For one attempt, from the look-up of the name to the head of the answer."""

GONE: Final = 410
"""The receiver wants no more of it; the specification asks that it be left alone."""


class NotDelivered(Exception):
    """An attempt failed. `final` says that another would be of no use; `reason` holds no secret."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class AddressRefused(PermissionError):
    """The name of a tenant's webhook leads inside."""


class Poster:
    """Posts documents; to be made inside the event loop that will use it.

    `allowed` are origins that the operator vouches for. No connection is kept: the next one is
    judged anew. `resolver` looks names up, None as the system does.
    """

    def __init__(
        self,
        *,
        allowed: Collection[str] = (),
        timeout_s: float = TIMEOUT_S,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allowed = frozenset(allowed)
        self._outside = _session(timeout_s, resolver, guarded=True)
        self._trusted = _session(timeout_s, resolver, guarded=False)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, trusted: bool
    ) -> None:
        """Send JSON. Raises NotDelivered unless the answer is 2xx.

        A `trusted` URL was named by the operator, and may lead anywhere.
        """
        if not trusted:
            try:
                check_url(url, allowed=self._allowed)
            except InvalidRequest as refusal:  # taken when the rules were others
                raise NotDelivered(refusal.detail, final=True) from None
        free = trusted or origin(url) in self._allowed
        told = {"Content-Type": "application/json", "User-Agent": f"fathom/{__version__}"}
        told.update(headers)
        try:
            session = self._trusted if free else self._outside
            async with session.post(
                URL(url, encoded=True), data=body, headers=told, allow_redirects=False
            ) as response:
                status = response.status
        except TimeoutError:
            raise NotDelivered("timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(_reason(error)) from None
        if not 200 <= status < 300:
            raise NotDelivered(f"status {status}", final=status == GONE)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._outside.close()
        await self._trusted.close()


def _session(
    timeout_s: float, resolver: AbstractResolver | None, *, guarded: bool
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            force_close=True,
            use_dns_cache=False,
            resolver=resolver,
            happy_eyeballs_delay=None,
            socket_factory=_socket_to_the_public if guarded else None,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=ClientTimeout(total=timeout_s),
        auto_decompress=False,
        trust_env=False,
    )


def _socket_to_the_public(
    address: tuple[int, int, int, str, tuple[object, ...]],
) -> socket.socket:
    """A socket for the very address that it will be connected to. Raises AddressRefused."""
    family, kind, protocol, _, sockaddr = address
    if not is_public(str(sockaddr[0])):
        raise AddressRefused(errno.EACCES, "not a public address")
    return socket.socket(family, kind, protocol)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.EACCES:
        return AddressRefused.__name__
    return type(error).__name__
