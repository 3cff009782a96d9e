"""`POST /v1/solves/{id}/resume`: a new solve that goes on with the tree of one that has ended."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Authenticated
from app.api.body import idempotency_key, read_body
from app.api.presence import while_waiting
from app.api.present import running_document
from app.api.problems import Draining
from app.api.published import REFUSALS
from app.api.quotas import quota_headers
from app.api.schemas import BudgetBody, WebhookBody
from app.api.solves import accepted, answer, replayed
from app.api.state import services
from app.errors import InvalidRequest
from app.ledger.refusals import AlreadyAsked
from app.solve.resuming import Wish

router = APIRouter(prefix="/v1", tags=["solves"], responses=REFUSALS)

RESUME_SCHEMA: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ResumeBody"}}},
    }
}


class ResumedSearchBody(BaseModel):
    """Bounds of the search from here on; what is not given stays as it was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_nodes: Annotated[int, Field(ge=1, le=512)] | None = Field(
        default=None,
        description="Of the whole tree, the nodes taken over included. Default: as many more as "
        "the resumed solve allowed.",
    )
    max_depth: Annotated[int, Field(ge=1, le=64)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=32)] | None = None
    target_score: Annotated[float, Field(gt=0, le=1)] | None = None
    patience: Annotated[int, Field(ge=1, le=512)] | None = Field(
        default=None, description="Counted from here: what failed before is forgiven."
    )


class ResumeBody(BaseModel):
    """A new budget for a solve that has ended, and how far its search may go now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budget: BudgetBody
    search: ResumedSearchBody = ResumedSearchBody()
    background: bool = Field(
        default=False,
        description="Answer at once with 202. Needs an `Idempotency-Key`.",
    )

    webhook: WebhookBody | None = Field(
        default=None, description="Where to tell its end; that of the resumed one is not asked."
    )

    def wish(self) -> Wish:
        """The same, in the words of the core."""
        bounds = self.search
        return Wish(
            limits=self.budget.limits(),
            max_nodes=bounds.max_nodes,
            max_depth=bounds.max_depth,
            concurrency=bounds.concurrency,
            target_score=bounds.target_score,
            patience=bounds.patience,
            background=self.background,
            webhook=None if self.webhook is None else self.webhook.webhook(),
        )


@router.post("/solves/{solve_id}/resume", openapi_extra=RESUME_SCHEMA, summary="Go on with a solve")
async def resume_solve(request: Request, solve_id: str, tenant: Authenticated) -> Response:
    """A new solve under a new cap that goes on with the search of one that has ended below target.

    Its tree starts with the nodes that are there, at their scores, and nothing that was paid for
    is asked again; a solve without a search is resumed as one, with its answers as first nodes.
    It costs what its own calls do. 409 while the solve runs, and where its texts were erased, none
    of its answers was scored, or it has reached its target.
    """
    if services(request).readiness.draining:
        raise Draining("this process is about to end; send the request again")
    sent = await read_body(request)
    body = ResumeBody.model_validate_json(sent)
    # The same words about another solve are another request.
    key = idempotency_key(request, request.url.path.encode() + b"\n" + sent)
    if body.background and key is None:
        raise InvalidRequest("Idempotency-Key", "what runs in the background must have one")
    if body.webhook is not None:
        await services(request).webhooks.admit(tenant.id, body.webhook.url)
    wish = body.wish()
    try:
        wanted, legacy = await services(request).resuming.prepare(tenant, solve_id, wish, key=key)
        if body.background:
            run = await services(request).background.begin(tenant, wanted, key=key, legacy=legacy)
            begun = await services(request).archive.find(tenant, run.claim.solve_id)
            response = accepted(running_document(begun.record))
            response.headers.update(quota_headers(run.claim.quotas, used=run.plan.first_hold))
            return response
        solving = services(request).inline.solve(tenant, wanted, key=key, legacy=legacy)
        claim, solved, texts = await while_waiting(request, solving)
    except AlreadyAsked as repeat:
        return await replayed(request, tenant, repeat.solve_id, background=body.background)
    response = answer(request, solved, texts)
    response.headers.update(quota_headers(claim.quotas, used=solved.spent))
    return response
