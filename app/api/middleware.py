"""The outermost layer of every request: its id, its span, its line in the log, and its bugs."""

import time
from typing import Final

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars, unbind_contextvars

from app.api.problems import on_bug
from app.api.state import Services
from app.ids import uuid7
from app.telemetry import traces
from app.telemetry.metrics import METHODS, OTHER, known

PROBES: Final = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds by machines: worth a line only to somebody who is looking for them."""

ABANDONED: Final = 499
"""What is written down for a request that ended before it was answered; nobody is sent it."""

log = structlog.get_logger()


class Edge:
    """Gives a request an id and a span, counts and logs it, and answers for a bug.

    Plain ASGI: a BaseHTTPMiddleware layer costs 290 microseconds. The log has the route's template
    and never the path, which may hold anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, trace = f"req_{uuid7().hex}", _trace(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id=request_id, traceparent=trace.traceparent)
        started = time.perf_counter()
        with (
            traces.within(trace),
            bound_contextvars(request_id=request_id, trace_id=trace.trace_id),
        ):
            try:
                await self._app(scope, receive, answer.send)
            except Exception as bug:
                if answer.status is not None:
                    # Half an answer is out: the server cuts the connection, and that is seen.
                    raise
                response = await on_bug(Request(scope), bug)
                await response(scope, receive, answer.send)
            finally:
                _tell(scope, answer.status or ABANDONED, (time.perf_counter() - started) * 1000)
                unbind_contextvars("solve_id")


class _Answer:
    """Sends what the application sends, under our headers; remembers its status."""

    def __init__(self, send: Send, *, request_id: str, traceparent: str) -> None:
        self.status: int | None = None
        self._send = send
        self._headers = [
            (b"x-request-id", request_id.encode()),
            (b"traceparent", traceparent.encode()),
        ]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *self._headers]
        await self._send(message)


def _trace(scope: Scope) -> traces.Trace:
    sent = [value for name, value in scope["headers"] if name == b"traceparent"]
    return traces.continued([value.decode("latin-1") for value in sent])


def _tell(scope: Scope, status: int, ms: float) -> None:
    state, method = scope["state"], known(scope["method"], METHODS)
    route = getattr(scope.get("route"), "path", OTHER)
    services = state["services"]
    assert isinstance(services, Services)
    services.metrics.http_requests.labels(method, route, str(status)).inc()
    write = log.debug if route in PROBES else log.info
    write(
        "request",
        method=method,
        route=route,
        status=status,
        ms=round(ms, 1),
        tenant_id=state.get("tenant_id"),
    )
