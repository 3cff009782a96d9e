"""Which addresses a tenant may have notices sent to: public ones, over HTTPS, and no others.

The caller never chooses an address inside. A URL is read by one strict pattern, so that no two
readers can disagree about its host; and whatever a name leads to is asked again of the very address
that is connected to. Nothing here looks a name up.
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from typing import Final

from app.errors import InvalidRequest

URL_LENGTH_MAX: Final = 2048

PORT: Final = "443"

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?][!$&'()*+,;=:@%/?A-Za-z0-9._~-]*)?",
    re.ASCII,
)
"""Of RFC 3986 what a webhook needs: no user, no fragment, and nothing outside ASCII."""

_INSIDE: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        # IPv4: IANA special-purpose registry, and multicast.
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # IPv6: what lies in 2000::/3 and is not for everybody. Teredo and 6to4 carry an IPv4
        # address of the sender's choice inside.
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_IPV6_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
"""All that is routed as unicast. Outside lie loopback, link-local, unique local and multicast
addresses, and those that wrap an IPv4 one: mapped, compatible, NAT64."""

_INSIDE_NAMES: Final = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "onion")


def is_public(address: str) -> bool:
    """Whether a numeric address, as the operating system writes it, is open to everybody."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed.scope_id is not None or parsed not in _IPV6_GLOBAL
    ):
        return False
    return not any(parsed in network for network in _INSIDE if network.version == parsed.version)


def origin(url: str) -> str | None:
    """`scheme://host:port` of a URL, or None where it is none that is understood."""
    found = _URL.fullmatch(url)
    if found is None or len(url) > URL_LENGTH_MAX:
        return None
    scheme = found["scheme"]
    port = found["port"] or ("443" if scheme == "https" else "80")
    return f"{scheme}://{found['host'].lower()}:{port}"


def check_url(url: str, *, allowed: Collection[str] = (), field: str = "webhook.url") -> None:
    """Refuse a URL that a tenant may not name; `allowed` are origins that the operator vouches for.

    Raises InvalidRequest. A name that passes may yet lead inside: see `is_public`.
    """
    of = origin(url)
    if of is None:
        raise InvalidRequest(field, "an https:// URL of printable ASCII, without user or fragment")
    if of in allowed:
        return
    found = _URL.fullmatch(url)
    assert found is not None, "it has an origin"
    if found["scheme"] != "https":
        raise InvalidRequest(field, "must start with https://")
    if (found["port"] or PORT) != PORT:
        raise InvalidRequest(field, f"must be served at port {PORT}")
    _check_host(found["host"].lower(), field)


def _check_host(host: str, field: str) -> None:
    literal = host.removeprefix("[").removesuffix("]")
    if literal != host or _is_ipv4(literal):
        if not is_public(literal):
            raise InvalidRequest(field, "must lead to a public address, written the usual way")
        return
    labels = host.split(".")
    if "" in labels or len(labels) == 1:
        raise InvalidRequest(field, "must name a host by its whole name")
    if any(host.endswith(f".{name}") for name in _INSIDE_NAMES):
        raise InvalidRequest(field, "must lead to a public address")


def _is_ipv4(host: str) -> bool:
    """Whether somebody may take the host for an address: 127.1, 0x7f000001, 017700000001."""
    try:
        socket.inet_aton(host)
    except OSError:
        # A last label that is a number cannot be a name's, whoever reads it (WHATWG URL).
        return re.fullmatch(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)", host.rpartition(".")[2]) is not None
    return True
