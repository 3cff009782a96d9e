"""Refusals as RFC 9457 problem details: the one place where an error class meets a status code.

A test fails when a `GatewayError` is missing here. A 2xx never carries an error, and an unexpected
exception never carries its text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from app.api.present import shortage_document
from app.api.quotas import quota_headers
from app.db.engine import DatabaseUnavailable
from app.db.migrate import SchemaBehind
from app.dispatch.batches import BatchCancelled, BatchExpired, NoSuchBatch
from app.dispatch.dispatcher import BackgroundFull
from app.dispatch.turns import QueueFull
from app.errors import GatewayError, InvalidRequest
from app.gate.document import UnreadableWeights
from app.ledger.refusals import (
    AlreadyAsked,
    BudgetExceeded,
    CancelAsked,
    ClaimLost,
    IdempotencyKeyReused,
    LadderReached,
    LimitReached,
    RateLimited,
)
from app.money import NanoUSD, to_usd
from app.providers.completion import (
    ProviderError,
    ProviderInvalidResponse,
    ProviderRefused,
    ProviderUnavailable,
)
from app.search.events import UnreadableLog
from app.search.trial import InvalidScore, UnknownTrial
from app.settings import BadConfiguration
from app.solve.archive import NoSuchSolve, ResultErased
from app.solve.attempt import CallFailed, HandedOver
from app.solve.giving_up import GivenUp
from app.solve.outcome import DeadlineWithoutAnswer, InternalError, LowConfidence
from app.solve.plan import ExpertNotAllowed
from app.solve.replaying import NotReplayable
from app.solve.report import shortage_of
from app.solve.resuming import NotResumable, SolveInProgress
from app.solve.retrace import ReplayDivergence
from app.store.treelog import TreeLogFenced, TreeLogGap, TreeLogUnavailable
from app.telemetry.logs import described
from app.tenants.directory import Unauthenticated
from app.tenants.policy import PolicyNotConfigured


class BodyTooLarge(GatewayError):
    """The body is larger than any that is read."""


class StillRunning(GatewayError):
    """The request with this idempotency key has not ended."""


class Draining(GatewayError):
    """This process is about to end, and begins nothing new."""


class NotJson(GatewayError):
    """The body is of another media type."""


class InvalidLines(GatewayError):
    """Lines of a batch cannot be carried out as written: (field, message) of the first ones."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{faults[0][0]}: {faults[0][1]}")
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Problem:
    """How a class of refusal is told over HTTP."""

    status: int
    code: str
    title: str
    retryable: bool = False


INTERNAL: Final = Problem(500, "internal", "The gateway failed", retryable=True)

PROBLEMS: Final[Mapping[type[GatewayError], Problem]] = {
    InvalidRequest: Problem(422, "validation", "The request is not valid"),
    InvalidLines: Problem(422, "validation", "Lines of the batch are not valid"),
    Unauthenticated: Problem(401, "unauthenticated", "No valid key"),
    ExpertNotAllowed: Problem(403, "expert-not-allowed", "The expert is not allowed"),
    PolicyNotConfigured: Problem(
        503, "policy-not-configured", "The tenant's policy is not configured", retryable=True
    ),
    BudgetExceeded: Problem(402, "budget-exhausted", "The budget has no room"),
    LadderReached: Problem(402, "budget-ladder", "So much is used that only single calls are run"),
    LimitReached: Problem(402, "budget-exhausted", "The request's own limit has no room"),
    RateLimited: Problem(429, "rate-limited", "A limit is reached for now", retryable=True),
    Draining: Problem(503, "draining", "The process is about to end", retryable=True),
    BackgroundFull: Problem(
        429, "rate-limited", "Too many solves run in the background", retryable=True
    ),
    QueueFull: Problem(429, "rate-limited", "Too many requests wait here", retryable=True),
    StillRunning: Problem(
        409, "idempotency-in-progress", "The same request is running", retryable=True
    ),
    AlreadyAsked: Problem(409, "idempotency-in-progress", "The same request was sent before"),
    IdempotencyKeyReused: Problem(422, "idempotency-key-reused", "The key was used before"),
    SolveInProgress: Problem(409, "solve-in-progress", "The solve has not ended", retryable=True),
    NotResumable: Problem(409, "not-resumable", "There is nothing to go on with"),
    NotReplayable: Problem(409, "not-replayable", "There is nothing to repeat"),
    ReplayDivergence: Problem(409, "replay-divergence", "The replay departs from the record"),
    NoSuchSolve: Problem(404, "not-found", "No such solve"),
    NoSuchBatch: Problem(404, "not-found", "No such batch"),
    BatchCancelled: Problem(409, "cancelled", "The batch was cancelled"),
    BatchExpired: Problem(504, "batch-expired", "The batch's time was up"),
    ResultErased: Problem(410, "result-erased", "The texts were erased"),
    BodyTooLarge: Problem(413, "body-too-large", "The body is too large"),
    NotJson: Problem(415, "unsupported-media-type", "The body is of another media type"),
    ProviderRefused: Problem(502, "upstream-invalid-response", "The provider refused"),
    ProviderUnavailable: Problem(
        503, "upstream-unavailable", "No provider answered", retryable=True
    ),
    ProviderError: Problem(502, "upstream-invalid-response", "The provider failed"),
    ProviderInvalidResponse: Problem(
        502, "upstream-invalid-response", "The provider sent no usable answer"
    ),
    CallFailed: Problem(502, "upstream-invalid-response", "The provider failed"),
    LowConfidence: Problem(424, "low-confidence", "No answer is sure enough"),
    DeadlineWithoutAnswer: Problem(
        504, "deadline-no-answer", "No answer before the deadline", retryable=True
    ),
    DatabaseUnavailable: Problem(503, "unavailable", "The ledger is out of reach", retryable=True),
    HandedOver: Problem(503, "unavailable", "Another process took over", retryable=True),
    CancelAsked: Problem(409, "cancelled", "The solve was cancelled"),
    ClaimLost: Problem(503, "unavailable", "Another process took over", retryable=True),
    TreeLogFenced: Problem(503, "unavailable", "Another process took over", retryable=True),
    TreeLogGap: INTERNAL,
    TreeLogUnavailable: INTERNAL,
    InternalError: INTERNAL,
    GivenUp: INTERNAL,
    SchemaBehind: INTERNAL,
    BadConfiguration: INTERNAL,
    UnknownTrial: INTERNAL,
    InvalidScore: INTERNAL,
    UnreadableLog: INTERNAL,
    UnreadableWeights: INTERNAL,
}

RETRY_AFTER_S: Final = 5

log = structlog.get_logger()


def problem_of(error: GatewayError) -> Problem:
    """The problem of an error: its own class's, else its nearest ancestor's."""
    return next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), INTERNAL)


def problem_named(kind: str) -> Problem:
    """The problem of an error class known by name, as results store it."""
    return next((made for known, made in PROBLEMS.items() if known.__name__ == kind), INTERNAL)


def respond(
    request: Request,
    problem: Problem,
    detail: str,
    *,
    spent: NanoUSD | None = None,
    retry_after_s: int | None = None,
    **facts: object,
) -> JSONResponse:
    """The problem as a response; `facts` are its extension members.

    `retry_after_s` is told where waiting helps, RETRY_AFTER_S where nobody knows better.
    """
    document: dict[str, Any] = {
        "type": f"urn:fathom:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": request.url.path,
        "code": problem.code,
        "request_id": request.scope.get("state", {}).get("request_id"),
        "retryable": problem.retryable,
    }
    if spent is not None:
        document["spent_usd"] = to_usd(spent)
    headers = {"Cache-Control": "no-store"}
    if problem.status in {429, 503}:
        headers["Retry-After"] = str(retry_after_s or RETRY_AFTER_S)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        document | facts, problem.status, headers, media_type="application/problem+json"
    )


async def on_refusal(request: Request, error: Exception) -> JSONResponse:
    """A refusal that reached the edge."""
    assert isinstance(error, GatewayError)
    facts = shortage_document(shortage_of(error))
    if isinstance(error, InvalidRequest):
        facts["errors"] = [{"field": error.field, "message": error.detail}]
    if isinstance(error, InvalidLines):
        facts["errors"] = [{"field": field, "message": said} for field, said in error.faults]
    wait_s = error.retry_after_s if isinstance(error, QueueFull | RateLimited) else None
    told = respond(request, problem_of(error), str(error), retry_after_s=wait_s, **facts)
    if isinstance(error, BudgetExceeded | LadderReached | RateLimited):
        told.headers.update(quota_headers(error.quotas))
    return told


async def on_invalid_body(request: Request, error: Exception) -> JSONResponse:
    """A body or parameter that does not fit its schema: every fault at once, by field."""
    assert isinstance(error, ValidationError | RequestValidationError)
    faults = [
        {"field": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"]}
        for fault in error.errors()
    ]
    if any(fault["type"] == "json_invalid" for fault in error.errors()):
        malformed = Problem(400, "malformed", "The body is not JSON")
        return respond(request, malformed, faults[0]["message"])
    first = f"{faults[0]['field']}: {faults[0]['message']}" if faults else "not valid"
    return respond(request, PROBLEMS[InvalidRequest], first, errors=faults)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """What the router itself refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    told = respond(request, Problem(error.status_code, code, str(error.detail)), str(error.detail))
    told.headers.update(error.headers or {})  # a 405 names the methods that there are
    return told


async def on_bug(request: Request, error: Exception) -> JSONResponse:
    """What nobody expected. Not even the log gets its text: it may hold anything."""
    log.error("bug", **described(error))
    return respond(request, INTERNAL, "the gateway failed; its operator can see why")
