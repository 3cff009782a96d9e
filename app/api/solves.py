"""`POST /v1/solve` and what can be read of a solve afterwards."""

from collections.abc import Mapping, Sequence
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
from app.api.quotas import quota_headers
from app.api.replays import ReplayBody, replay_asked
from app.api.schemas import SolveBody
from app.api.state import services
from app.api.trees import tree_document, tree_text
from app.errors import InvalidRequest
from app.ledger.idempotency import IdempotencyKey
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
SOLVE_OR_REPLAY_SCHEMA: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/SolveBody"},
                        {"$ref": "#/components/schemas/ReplayBody"},
                    ]
                }
            }
        },
    }
}


@router.post("/solve", openapi_extra=SOLVE_OR_REPLAY_SCHEMA, summary="Solve a problem")
async def solve(request: Request, tenant: Authenticated) -> Response:
    """Decide how deep to think, think, and answer; the solve object says what it cost and why.

    With an `Idempotency-Key`, a request sent again gets the stored result and pays nothing; where
    its client left before there was one, it runs anew. In the background, where a key is needed,
    the answer is 202 with the solve as it stands and, in `Location`, where to read it. Sent again
    while its solve runs, a request is answered 409 `idempotency-in-progress`, and in the background
    202 again with the same solve: the first 202 may have been lost. `RateLimit` and
    `RateLimit-Policy` say how much of the tightest limits is left.

    `{"replay_of": "slv_…"}` makes a solve of yours again from its record: gate and search decide
    anew on the recorded responses, no model is called, and it costs nothing; `replayed_cost` is
    what it had cost. 409 `replay-divergence` where anything comes out differently, 410 where its
    texts were erased.
    """
    if services(request).readiness.draining:
        raise Draining("this process is about to end; send the request again")
    sent = await read_body(request)
    if (asked := replay_asked(sent)) is not None:
        return await _replay(request, tenant, asked, idempotency_key(request, sent))
    body = SolveBody.model_validate_json(sent)
    key = idempotency_key(request, sent)
    if body.background and key is None:
        raise InvalidRequest("Idempotency-Key", "what runs in the background must have one")
    if body.webhook is not None:
        await services(request).webhooks.admit(tenant.id, body.webhook.url)
    try:
        if body.background:
            run = await services(request).background.begin(tenant, body.to_request(), key=key)
            # Read back, so that it says the same, by the same clock, as whoever reads it later.
            begun = await services(request).archive.find(tenant, run.claim.solve_id)
            response = accepted(running_document(begun.record))
            response.headers.update(quota_headers(run.claim.quotas, used=run.plan.first_hold))
            return response
        solving = services(request).inline.solve(tenant, body.to_request(), key=key)
        claim, solved, texts = await while_waiting(request, solving)
    except AlreadyAsked as repeat:
        return await replayed(
            request, tenant, repeat.solve_id, background=body.background, include=body.include
        )
    told = None
    if "candidates" in body.include:
        found = await services(request).archive.find(tenant, solved.id)
        told = candidates(found.calls, texts)
    response = answer(request, solved, texts, told=told)
    response.headers.update(quota_headers(claim.quotas, used=solved.spent))
    return response


async def _replay(
    request: Request, tenant: Tenant, body: ReplayBody, key: IdempotencyKey | None
) -> Response:
    try:
        solved, texts, before = await services(request).replaying.replay(
            tenant, body.replay_of, metadata=body.metadata, key=key
        )
    except AlreadyAsked as repeat:
        return await replayed(
            request, tenant, repeat.solve_id, background=False, include=body.include
        )
    told = candidates(before.calls, before.texts) if "candidates" in body.include else None
    return answer(request, solved, texts, told=told)


async def replayed(
    request: Request,
    tenant: Tenant,
    solve_id: str,
    *,
    background: bool,
    include: Sequence[str] = (),
) -> Response:
    """What a request that was sent before under its key is answered: the solve that it started."""
    found = await services(request).archive.find(tenant, solve_id)
    if found.solved is None and background:
        # Said again, for its caller has not heard it: this is the way to the result.
        return accepted(running_document(found.record), replayed="true")
    if found.solved is None:
        raise StillRunning(
            f"solve {solve_id} is still running; ask for it at /v1/solves/{solve_id}"
        )
    if found.is_erased:
        raise ResultErased(f"the texts of {solve_id} were erased; a new request needs a new key")
    told = None
    if "candidates" in include:
        made_by = found
        if found.record.replay_of is not None:
            made_by = await services(request).archive.find(tenant, found.record.replay_of)
        told = candidates(made_by.calls, made_by.texts)
    response = answer(request, found.solved, found.texts, told=told)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def answer(
    request: Request,
    solved: Solved,
    texts: Mapping[str, str],
    *,
    told: Sequence[Mapping[str, Any]] | None = None,
) -> Response:
    """The solve object of one that has ended, or the problem that it failed with."""
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
    if told is not None:
        document["candidates"] = told
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
        return accepted(running_document(found.record))
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


def accepted(document: Mapping[str, Any], *, replayed: str | None = None) -> Response:
    """202, with the solve as it stands and where to read it."""
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
