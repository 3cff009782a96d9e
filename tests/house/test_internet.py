"""The suite must not depend on, or disturb, anything outside this machine."""

import socket

import pytest

# Addresses kept for documentation, which lead nowhere: RFC 5737 and RFC 3849.
OUTSIDE = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]


@pytest.mark.parametrize(("family", "host"), OUTSIDE)
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_connecting_to_the_internet_is_refused(
    family: socket.AddressFamily, host: str, kind: socket.SocketKind
) -> None:
    """A connection to another machine fails before it is tried."""
    with socket.socket(family, kind) as sock, pytest.raises(AssertionError, match="no test"):
        sock.connect((host, 443))


def test_sending_a_datagram_to_the_internet_is_refused() -> None:
    """A datagram needs no connection, and is refused all the same."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(AssertionError, match="no test"),
    ):
        sock.sendto(b"?", ("192.0.2.1", 53))


def test_looking_up_a_name_is_refused() -> None:
    """A look-up is traffic too."""
    with pytest.raises(AssertionError, match="no test"):
        socket.getaddrinfo("example.com", 443)


async def test_a_server_on_this_machine_can_be_reached() -> None:
    """Loopback is open by address and by name, so that real databases can be used."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, port), timeout=5).close()
