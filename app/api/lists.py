"""`GET /v1/solves`: this tenant's solves, newest first."""

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime

from app.api.auth import Authenticated
from app.api.present import links
from app.api.published import REFUSALS
from app.api.solves import NO_STORE
from app.api.state import services
from app.errors import InvalidRequest
from app.gate.gate import Route
from app.ledger.listing import Filters, ListedSolve
from app.money import to_usd

router = APIRouter(prefix="/v1", tags=["solves"], responses=REFUSALS)

PAGE: Final = 20
PAGE_MAX: Final = 100


class ListedStatus(StrEnum):
    """What a solve in a list may be."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


Id = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Text = Annotated[str | None, Query(pattern=r"^[^\x00]*$", max_length=512)]


@router.get("/solves", summary="List solves")
async def list_solves(
    request: Request,
    tenant: Authenticated,
    *,
    status: ListedStatus | None = None,
    route: Route | None = None,
    project: Id = None,
    key: Id = None,
    start: Annotated[AwareDatetime | None, Query(description="Created then or later.")] = None,
    end: Annotated[AwareDatetime | None, Query(description="Created before that.")] = None,
    metadata_key: Text = None,
    metadata_value: Text = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
    after: Annotated[Id, Query(description="The `next` of the page before.")] = None,
) -> JSONResponse:
    """This tenant's solves without their texts, newest first; `next` is where the next page starts.

    `metadata_key` finds those that carry it, and with `metadata_value` those that carry it so.
    """
    if metadata_value is not None and metadata_key is None:
        raise InvalidRequest("metadata_key", "name the key whose value is looked for")
    filters = Filters(
        status=status,
        route=route,
        project_id=project,
        key_id=key,
        start=start,
        end=end,
        metadata=None if metadata_key is None else (metadata_key, metadata_value),
    )
    found, more = await services(request).listing.page(tenant.id, filters, most=limit, after=after)
    document = {
        "object": "list",
        "data": [_listed(one) for one in found],
        "has_more": more,
        "next": found[-1].id if more else None,
    }
    return JSONResponse(document, headers=NO_STORE)


def _listed(one: ListedSolve) -> dict[str, Any]:
    ended = one.completed_at
    return {
        "id": one.id,
        "object": "solve",
        "created_at": int(one.created_at.timestamp()),
        "completed_at": None if ended is None else int(ended.timestamp()),
        "status": one.status,
        "route": one.route,
        "project": one.project_id,
        "key": one.key_id,
        "budget": {"max_cost_usd": to_usd(one.cap), "spent_usd": to_usd(one.posted)},
        "resumed_from": one.resumed_from,
        "replay_of": one.replay_of,
        "links": links(one.id),
        "metadata": dict(one.metadata),
    }
