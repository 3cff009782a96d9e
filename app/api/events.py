"""`GET /v1/solves/{id}/events`: a solve told while it runs, or afterwards, from any replica."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse

from app.api.auth import Authenticated
from app.api.narration import PING, Narration
from app.api.present import solve_document, stored_text
from app.api.published import REFUSALS
from app.api.state import Services, services
from app.db.engine import DatabaseUnavailable
from app.solve.archive import Archived
from app.tenants.directory import Tenant

router = APIRouter(prefix="/v1", tags=["solves"], responses=REFUSALS)

EVENT_STREAM: Final = "text/event-stream"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until it has some kilobytes
}


@router.get(
    "/solves/{solve_id}/events",
    summary="Follow a solve",
    response_class=StreamingResponse,
    responses={
        200: {"content": {EVENT_STREAM: {}}, "description": "Server-sent events."},
        204: {"description": "All has been heard: there is no need to connect again."},
    },
)
async def read_events(
    request: Request,
    solve_id: str,
    tenant: Authenticated,
    last_event_id: Annotated[int, Header(ge=0, description="The last event heard.")] = 0,
) -> Response:
    """What happened and happens: `solve.created`, `solve.search.started`, `solve.node.started`,
    `.completed` and `.failed`, `solve.best.updated`, and at the end exactly one of
    `solve.completed`, `.incomplete`, `.failed` and `.cancelled` with the solve object.

    Events are numbered the same for everybody; a stream that breaks off before the end is taken up
    with `Last-Event-ID`, as browsers do by themselves.
    """  # noqa: D205 - published as it stands
    found = await services(request).archive.find(tenant, solve_id)
    created_at_s = int(found.record.created_at.timestamp())
    story = Narration(found.record.id, created_at_s=created_at_s, after=last_event_id)
    if found.solved is None:
        told = _follow(services(request), tenant, found, story)
        return StreamingResponse(told, media_type=EVENT_STREAM, headers=HEADERS)
    text = story.begin() + await _rest(services(request), found, story, given=0)
    if not text:
        return Response(status_code=204, headers=HEADERS)
    return Response(text, media_type=EVENT_STREAM, headers=HEADERS)


async def _follow(
    gateway: Services, tenant: Tenant, found: Archived, story: Narration
) -> AsyncGenerator[str]:
    yield story.begin()
    given = 0
    async for lot in gateway.following.follow(found.record.id):
        given += len(lot)
        yield story.search(lot) if lot else PING
    # Half an answer is out: what cannot be had now, the client asks for again.
    with suppress(DatabaseUnavailable):
        found = await gateway.archive.find(tenant, found.record.id)
        yield await _rest(gateway, found, story, given=given)


async def _rest(gateway: Services, found: Archived, story: Narration, *, given: int) -> str:
    """What remains to be told after so many events of the search; no end where there is none."""
    if found.solved is None:
        return ""
    log = await gateway.archive.log(found)
    ending = solve_document(found.solved, stored_text(found.texts))
    return story.search(log[given:]) + story.end(ending)
