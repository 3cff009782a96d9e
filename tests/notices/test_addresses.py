"""No spelling of an address leads a tenant's webhook inside."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.notices.addresses import check_url, is_public, origin

# What must never be reached, and one address of each; RFC 6890 and the IANA registries it began.
INSIDE = [
    "0.0.0.0",  # noqa: S104 - an address, not a binding
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str) -> None:
    """Nor is it as a part of a URL."""
    assert not is_public(address)
    host = f"[{address}]" if ":" in address else address
    assert not accepted(f"https://{host}/hook")


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Or the guard would be a wall."""
    assert is_public(address)
    assert accepted(f"https://[{address}]/" if ":" in address else f"https://{address}/")


@given(st.integers(0, 2**32 - 1))
@example(int(ipaddress.IPv4Address("169.254.169.254")))
def test_what_the_standard_library_calls_special_is_not_public(number: int) -> None:
    """A second opinion, of another table."""
    address = ipaddress.IPv4Address(number)
    if not address.is_global or address.is_multicast:
        assert not is_public(str(address))


@given(st.integers(0, 2**128 - 1))
def test_so_it_is_with_ipv6(number: int) -> None:
    """Of 2^128 few are drawn near the edges; the table above has those."""
    address = ipaddress.IPv6Address(number)
    if not address.is_global or address.is_multicast or address.ipv4_mapped is not None:
        assert not is_public(str(address))


@given(st.integers(0, 2**32 - 1))
def test_no_ipv6_address_that_wraps_an_ipv4_one_is_public(number: int) -> None:
    """Mapped, compatible, translated (NAT64), tunnelled (6to4): the inner one is not looked at."""
    inner = ipaddress.IPv4Address(number)
    high = f"{number >> 16:x}:{number & 0xFFFF:x}"
    for wrapped in (f"::ffff:{inner}", f"::{inner}", f"64:ff9b::{inner}", f"2002:{high}::1"):
        assert not is_public(wrapped)


def spellings(number: int) -> list[str]:
    """How `inet_aton` of one libc or another reads an IPv4 address, beside the usual form."""
    a, b, c, d = number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255
    return [
        f"{number}",
        f"0x{number:x}",
        f"0X{number:08X}",
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"00{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.0x{d:x}",
        f"{a}.{b}.{c}.{d}.",
        f"{a}。{b}。{c}。{d}",
        f"{a}%2e{b}.{c}.{d}",
        f"[::ffff:{a}.{b}.{c}.{d}]",
        f"[::ffff:{a:02x}{b:02x}:{c:02x}{d:02x}]",
        f"user@{a}.{b}.{c}.{d}",
        f"example.com@{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d}\\@example.com",
        f"{a}.{b}.{c}.{d}#@example.com",
        f" {a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d}\t",
    ]


@given(st.integers(0, 2**32 - 1))
@example(int(ipaddress.IPv4Address("127.0.0.1")))
@example(int(ipaddress.IPv4Address("169.254.169.254")))
@example(int(ipaddress.IPv4Address("10.0.0.1")))
@example(int(ipaddress.IPv4Address("8.8.8.8")))
def test_an_address_is_only_taken_in_its_usual_form(number: int) -> None:
    """So that nobody has to know who else reads 0177.1 as 127.0.0.1."""
    for spelling in spellings(number):
        assert not accepted(f"https://{spelling}/hook"), spelling


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.com/", "https://"),
        ("ftp://hooks.example.com/", "https:// URL"),
        ("file:///etc/passwd", "https:// URL"),
        ("https://hooks.example.com:80/", "port 443"),
        ("https://hooks.example.com:8443/", "port 443"),
        ("https://localhost/", "whole name"),
        ("https://gateway/", "whole name"),
        ("https://metadata.google.internal/", "public address"),
        ("https://a.localhost/", "public address"),
        ("https://hooks.example.com/a b", "printable ASCII"),
        ("https://hooks.example.com/a\r\nHost: b", "printable ASCII"),
        ("https://hooks.example.com/#top", "without user or fragment"),
        ("https://user:pass@hooks.example.com/", "without user"),
        ("https://" + "a" * 2048 + ".example.com/", "https:// URL"),
        ("", "https:// URL"),
    ],
)
def test_a_refusal_says_what_would_be_taken(url: str, why: str) -> None:
    """As any other field's."""
    with pytest.raises(InvalidRequest, match=why) as refused:
        check_url(url)
    assert refused.value.field == "webhook.url"


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:443/fathom",
        "https://HOOKS.example.com/a/b?token=x&y=%20",
        "https://xn--bcher-kva.example/",
    ],
)
def test_a_usual_url_is_taken(url: str) -> None:
    """Or nobody would have webhooks."""
    check_url(url)


def test_the_operator_may_vouch_for_an_origin() -> None:
    """That one, and not its neighbour."""
    allowed = ["http://10.1.2.3:9000"]
    check_url("http://10.1.2.3:9000/hook", allowed=allowed)
    assert origin("http://10.1.2.3/") == "http://10.1.2.3:80"
    for other in ("http://10.1.2.3:9001/", "https://10.1.2.3:9000/", "http://10.1.2.4:9000/"):
        with pytest.raises(InvalidRequest):
            check_url(other, allowed=allowed)


def accepted(url: str) -> bool:
    """Whether a tenant may name it."""
    try:
        check_url(url)
    except InvalidRequest:
        return False
    return True
