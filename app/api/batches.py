"""`/v1/batches`: many solves under one cap, in OpenAI's shape, from JSON Lines to JSON Lines."""

import hashlib
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.api.auth import Authenticated
from app.api.body import idempotency_key
from app.api.jsonlines import LINES_MAX, MEDIA_TYPES, read_lines
from app.api.present import batch_document, solve_document
from app.api.problems import Draining, problem_named
from app.api.published import REFUSALS
from app.api.schemas import PositiveUsd
from app.api.state import Services, services
from app.dispatch.batches import Order
from app.errors import InvalidRequest
from app.ids import BatchId
from app.ledger.batch_lines import LineOutput
from app.ledger.idempotency import IdempotencyKey
from app.money import from_usd
from app.solve.report import Status, solved_from

router = APIRouter(prefix="/v1", tags=["batches"], responses=REFUSALS)

JSON_LINES: Final = MEDIA_TYPES[0]
NO_STORE: Final = {"Cache-Control": "no-store"}

BATCH_SCHEMA: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"A line each, {LINES_MAX} at most.",
        "content": {JSON_LINES: {"schema": {"$ref": "#/components/schemas/BatchLineBody"}}},
    }
}

Window = Literal["1h", "6h", "24h", "72h", "168h"]


@router.post("/batches", openapi_extra=BATCH_SCHEMA, summary="Send a batch of problems")
async def create_batch(
    request: Request,
    tenant: Authenticated,
    max_cost_usd: Annotated[PositiveUsd, Query(description="What all of it may cost.")],
    completion_window: Annotated[
        Window, Query(description="What has not begun by then is given up.")
    ] = "24h",
) -> Response:
    """Each line is `{"custom_id", "method": "POST", "url": "/v1/solve", "body"}`, its body that of
    a solve. All are checked before any is kept. They run when nobody who waits needs the room, each
    held and paid on its own, all together within `max_cost_usd`: a line that no longer fits ends
    with the error `budget-exhausted`. Needs an `Idempotency-Key`, which never expires.
    """  # noqa: D205 - published as it stands
    if services(request).readiness.draining:
        raise Draining("this process is about to end; send the batch again")
    if idempotency_key(request, b"") is None:
        raise InvalidRequest("Idempotency-Key", "a batch must have one")
    sent = await read_lines(request, partial(services(request).solver.check, tenant))
    await services(request).webhooks.admit(tenant.id, *sorted(sent.webhooks))
    asked = f"{max_cost_usd} {completion_window} {sent.sha256}"
    key = IdempotencyKey(
        request.headers["idempotency-key"], hashlib.sha256(asked.encode()).hexdigest()
    )
    order = Order(from_usd(max_cost_usd), completion_window, sent.lines)
    made, replayed = await services(request).batches.submit(tenant, order, key=key)
    document = batch_document(made)
    headers = NO_STORE | {"Location": document["links"]["self"]}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(document, headers=headers)


@router.get("/batches", summary="List batches")
async def list_batches(
    request: Request,
    tenant: Authenticated,
    after: Annotated[str | None, Query(description="Go on behind this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JSONResponse:
    """This tenant's batches, newest first."""
    found = await services(request).batches.listed(tenant, after=after, most=limit + 1)
    batches = [batch_document(one) for one in found[:limit]]
    document = {
        "object": "list",
        "data": batches,
        "first_id": batches[0]["id"] if batches else None,
        "last_id": batches[-1]["id"] if batches else None,
        "has_more": len(found) > limit,
    }
    return JSONResponse(document, headers=NO_STORE)


@router.get("/batches/{batch_id}", summary="Read a batch")
async def read_batch(request: Request, batch_id: str, tenant: Authenticated) -> JSONResponse:
    """How far it has come, and what it has cost so far."""
    found = await services(request).batches.find(tenant, batch_id)
    return JSONResponse(batch_document(found), headers=NO_STORE)


@router.post("/batches/{batch_id}/cancel", summary="Cancel a batch")
async def cancel_batch(request: Request, batch_id: str, tenant: Authenticated) -> JSONResponse:
    """No more lines are begun; those that run are cut short, and cost what their calls did."""
    found = await services(request).batches.cancel(tenant, batch_id)
    return JSONResponse(batch_document(found), headers=NO_STORE)


@router.get(
    "/batches/{batch_id}/output",
    summary="Read a batch's output",
    response_class=StreamingResponse,
    responses={200: {"content": {JSON_LINES: {}}, "description": "A line for each that ended."}},
)
async def read_output(request: Request, batch_id: str, tenant: Authenticated) -> Response:
    """The lines that have ended, in the order of the input: `custom_id`, and the `response` with
    the solve object, or the `error` of one that came to none. All of them once the batch has ended.
    """  # noqa: D205 - published as it stands
    found = await services(request).batches.find(tenant, batch_id)
    lines = _lines(services(request), found.id)
    return StreamingResponse(lines, media_type=JSON_LINES, headers=NO_STORE)


async def _lines(gateway: Services, batch_id: BatchId) -> AsyncGenerator[bytes]:
    async for page in gateway.batches.output(batch_id):
        yield b"".join(msgspec.json.encode(_line(batch_id, one)) + b"\n" for one in page)


def _line(batch_id: BatchId, line: LineOutput) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": f"{batch_id}:{line.number}",
        "custom_id": line.custom_id,
        "response": None,
        "error": None,
    }
    kind, detail, status = line.error_kind, line.error_detail, 200
    if line.result is not None:
        solved = solved_from(line.result)
        if solved.error is not None and solved.status is Status.FAILED:
            kind, detail = solved.error.kind, solved.error.detail
            status = problem_named(solved.error.kind).status
        document["response"] = {
            "status_code": status,
            "request_id": line.solve_id,
            "body": solve_document(solved, line.text),
        }
    if kind is not None:
        problem = problem_named(kind)
        document["error"] = {"code": problem.code, "message": detail or problem.title}
    return document
