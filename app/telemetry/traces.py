"""W3C trace context: continue the caller's trace, and give each upstream call a span of its own.

Ids only; no span is recorded here. Source: W3C Trace Context, level 1, sections 3.2 and 4.3.
"""

import re
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

VERSION: Final = "00"
SAMPLED: Final = 0x01
NO_TRACE: Final = "0" * 32
NO_SPAN: Final = "0" * 16

_TRACEPARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Trace:
    """One span of a trace; `sampled` is what the caller decided, and is passed on."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The header that names this span."""
        return f"{VERSION}-{self.trace_id}-{self.span_id}-{SAMPLED if self.sampled else 0:02x}"

    def child(self) -> "Trace":
        """A new span of the same trace."""
        return Trace(self.trace_id, secrets.token_hex(8), self.sampled)


_current: ContextVar[Trace | None] = ContextVar("fathom_trace", default=None)


def parse(traceparent: str) -> Trace | None:
    """The span that a header names, or None for one that the standard says to ignore."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or found["version"] == "ff":
        return None
    if found["trace"] == NO_TRACE or found["span"] == NO_SPAN:
        return None
    # Later versions may append fields to what we know of them; this one may not.
    if found["version"] == VERSION and found["more"] is not None:
        return None
    return Trace(found["trace"], found["span"], bool(int(found["flags"], 16) & SAMPLED))


def begun() -> Trace:
    """The first span of a new trace. Not sampled: nothing here records it."""
    return Trace(secrets.token_hex(16), secrets.token_hex(8), sampled=False)


def continued(headers: Sequence[str]) -> Trace:
    """Our span for a request with these `traceparent` headers: the caller's trace, or a new one."""
    caller = parse(headers[0]) if len(headers) == 1 else None
    return begun() if caller is None else caller.child()


@contextmanager
def within(trace: Trace) -> Generator[None]:
    """Make `trace` the current one until the block ends, in this task and those it starts."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


def child_traceparent() -> str | None:
    """The header for one upstream call, a new span at each; None outside any trace."""
    trace = _current.get()
    return None if trace is None else trace.child().traceparent
