"""What every test is given: no internet, one event loop, examples that repeat.

Nothing here knows of a capability; a fixture that does belongs in that capability's folder. What
several of them need, the databases and the tree stores, is in `backends.py`.
"""

import ipaddress
import logging
import sys
from typing import Any, Final

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Loaded on a laptop too, so that a failure seen in continuous integration is seen there. To look
# for new counterexamples instead: make test ARGS=--hypothesis-profile=explore
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    # How long an example takes to draw depends on what else the machine is doing.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile("ci")

# Unset, structlog prints every line, and draws every variable of a traceback for seconds.
structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
)

pytest_plugins = ["tests.backends"]

SENDING: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
RESOLVING: Final = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})


class InternetRefused(AssertionError):
    """A test tried to leave this machine. Not an OSError, which code may take for bad weather."""


def is_local(host: object, *, resolving: bool) -> bool:
    """Whether reaching `host` stays on this machine; a numeric address may always be resolved."""
    # None asks for a wildcard address; what is neither text nor None is no internet address.
    if not isinstance(host, str):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return resolving or (getattr(address, "ipv4_mapped", None) or address).is_loopback


def refuse_internet(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: raise before a name is looked up, or a byte sent, outside this machine.

    It sees sockets made in Python. uvloop and child processes it does not see; tests run on the
    standard event loop, and what they start is their own.
    """
    if event in SENDING:
        # An internet address is a tuple, a Unix one is a path.
        address: tuple[object, ...] | str | bytes = args[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in RESOLVING:
        host = args[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not is_local(host, resolving=event in RESOLVING):
        raise InternetRefused(f"{event} to {host!r}: no test reaches the internet")


# A hook can never be removed, which is what is wanted of this one.
sys.addaudithook(refuse_internet)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, as production does, and let fixtures of any scope be async."""
    return "asyncio"
