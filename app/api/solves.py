"""`POST /v1/solve` and what can be read of a solve afterwards."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.auth import Authenticated
from app.api.body import idempotency_key, read_body
from app.api.presence import while_waiting
from app.api.present import (
    candidates,
    running_document,
    shortage_document,
    solve_document,
    stored_text,
)
from app.api.problems import Draining, StillRunning, problem_named, respond
from app.api.published import REFUSALS
from app.api.schemas import SolveBody
from app.api.state import services
from app.api.trees import tree_document, tree_text
from app.errors import InvalidRequest
from app.ledger.refusals import AlreadyAsked
from app.money import to_usd
from app.solve.archive import ResultErased
from app.solve.report import Solved, Status
from app.tenants.directory import Tenant

router = APIRouter(prefix="/v1", tags=["solves"], responses=REFUSALS)

NO_STORE: Final = {"Cache-Control": "no-store"}

SOLVE_SCHEMA: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SolveBody"}}},
    }
}


@router.post("/solve", openapi_extra=SOLVE_SCHEMA, summary="Solve a problem")
async def solve(request: Request, tenant: Authenticated) -> Response:
    """Decide how deep to think, think, and answer; the solve object says what it cost and why.

    With an `Idempotency-Key`, a request sent again gets the stored result and pays nothing; where
    its client left before there was one, it runs anew. In the background, where a key is needed,
    the answer is 202 with the solve as it stands and, in `Location`, where to read it.
    """
    if services(request).readiness.draining:
        raise Draining("this process is about to end; send the request again")
    sent = await read_body(request)
    body = SolveBody.model_validate_json(sent)
    key = idempotency_key(request, sent)
    if body.background and key is None:
        raise InvalidRequest("Idempotency-Key", "what runs in the background must have one")
    try:
        if body.background:
            run = await services(request).background.begin(tenant, body.to_request(), key=key)
            # Read back, so that it says the same, by the same clock, as whoever reads it later.
            begun = await services(request).archive.find(tenant, run.claim.solve_id)
            return _accepted(running_document(begun.record))
        solving = services(request).solver.solve(tenant, body.to_request(), key=key)
        solved, texts = await while_waiting(request, solving)
    except AlreadyAsked as repeat:
        return await _replay(request, tenant, body, repeat.solve_id)
    return await _answer(request, tenant, body, solved, texts)


async def _replay(request: Request, tenant: Tenant, body: SolveBody, solve_id: str) -> Response:
    found = await services(request).archive.find(tenant, solve_id)
    if found.solved is None and body.background:
        # Said again, for its caller has not heard it: this is the way to the result.
        return _accepted(running_document(found.record), replayed="true")
    if found.solved is None:
        raise StillRunning(
            f"solve {solve_id} is still running; ask for it at /v1/solves/{solve_id}"
        )
    if found.is_erased:
        raise ResultErased(f"the texts of {solve_id} were erased; a new request needs a new key")
    response = await _answer(request, tenant, body, found.solved, found.texts)
    response.headers["Idempotency-Replayed"] = "true"
    return response


async def _answer(
    request: Request, tenant: Tenant, body: SolveBody, solved: Solved, texts: Mapping[str, str]
) -> Response:
    if solved.status is Status.FAILED and solved.error is not None:
        problem = problem_named(solved.error.kind)
        return respond(
            request,
            problem,
            solved.error.detail or problem.title,
            spent=solved.spent,
            solve_id=solved.id,
            **shortage_document(solved.error.shortage),
        )
    document = solve_document(solved, stored_text(texts))
    if "candidates" in body.include:
        found = await services(request).archive.find(tenant, solved.id)
        document["candidates"] = candidates(found.calls, texts)
    return JSONResponse(document, headers=_headers(solved))


@router.get("/solves/{solve_id}", summary="Read a solve")
async def read_solve(request: Request, solve_id: str, tenant: Authenticated) -> Response:
    """The solve object; its texts are null once they have been erased."""
    found = await services(request).archive.find(tenant, solve_id)
    if found.solved is None:
        return JSONResponse(running_document(found.record), headers=NO_STORE)
    document = solve_document(found.solved, stored_text(found.texts))
    return JSONResponse(document, headers=_headers(found.solved))


@router.post("/solves/{solve_id}/cancel", summary="Cancel a solve")
async def cancel_solve(request: Request, solve_id: str, tenant: Authenticated) -> Response:
    """The solve object once it has ended; with 202 while another process is still ending it.

    Its calls in flight are cut short, and it costs what the others did. One that had ended stays as
    it was. The idempotency key of a cancelled solve is free again.
    """
    found = await services(request).cancelling.cancel(tenant, solve_id)
    if found.solved is None:
        return _accepted(running_document(found.record))
    document = solve_document(found.solved, stored_text(found.texts))
    return JSONResponse(document, headers=_headers(found.solved))


@router.get("/solves/{solve_id}/tree", summary="Read a solve's search tree")
async def read_tree(
    request: Request,
    solve_id: str,
    tenant: Authenticated,
    form: Annotated[Literal["json", "text"], Query(alias="format")] = "json",
) -> Response:
    """Every node with its parent, expert, score, cost and answer; `format=text` draws it."""
    nodes = await services(request).archive.tree(tenant, solve_id)
    if form == "text":
        return Response(tree_text(nodes), media_type="text/plain; charset=utf-8", headers=NO_STORE)
    return JSONResponse(tree_document(solve_id, nodes), headers=NO_STORE)


def _accepted(document: Mapping[str, Any], *, replayed: str | None = None) -> Response:
    headers = NO_STORE | {"Location": document["links"]["self"]}
    if replayed is not None:
        headers["Idempotency-Replayed"] = replayed
    return JSONResponse(document, 202, headers)


def _headers(solved: Solved) -> dict[str, str]:
    phases = {
        "gate": solved.timing.gate_ms,
        "search": solved.timing.search_ms,
        "total": solved.timing.total_ms,
    }
    timing = ", ".join(f"{name};dur={ms:.1f}" for name, ms in phases.items() if ms is not None)
    route = "none" if solved.decision is None else solved.decision.route
    return NO_STORE | {
        "Server-Timing": timing,
        "X-Solve-Cost-Usd": to_usd(solved.spent),
        "X-Solve-Route": route,
    }
