"""The HTTP application: routes, and what becomes of an error. Knows no provider, no database."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from app import __version__
from app.api import (
    admin,
    batches,
    estimates,
    events,
    exports,
    feedback,
    health,
    lists,
    metrics,
    receipts,
    resumes,
    returns,
    solves,
    spending,
    statements,
)
from app.api.jsonlines import BatchLineBody
from app.api.middleware import Edge
from app.api.problems import on_bug, on_http_error, on_invalid_body, on_refusal
from app.api.published import PROBLEM_NAME, ProblemDocument, schemas_of
from app.api.replays import ReplayBody
from app.api.resumes import ResumeBody
from app.api.schemas import SolveBody
from app.errors import GatewayError

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document, with the body that its route reads by itself, and the problems."""
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (SolveBody, ReplayBody, ResumeBody, BatchLineBody):
            schemas |= schemas_of(model, model.__name__)
        schemas |= schemas_of(ProblemDocument, PROBLEM_NAME)
        return document


def build(lifespan: Lifespan) -> FastAPI:
    """The application; `lifespan` opens what it needs and yields `{"services": Services}`."""
    app = _Application(
        title="Fathom",
        version=__version__,
        summary="An inference gateway that decides how deep to think.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(solves.router)
    app.include_router(lists.router)
    app.include_router(feedback.router)
    app.include_router(resumes.router)
    app.include_router(events.router)
    app.include_router(estimates.router)
    app.include_router(receipts.router)
    app.include_router(batches.router)
    app.include_router(spending.router)
    app.include_router(returns.router)
    app.include_router(exports.router)
    app.include_router(statements.router)
    app.include_router(admin.router)
    app.add_exception_handler(GatewayError, on_refusal)
    app.add_exception_handler(ValidationError, on_invalid_body)
    app.add_exception_handler(RequestValidationError, on_invalid_body)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_bug)
    app.add_middleware(Edge)
    return app
