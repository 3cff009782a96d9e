"""`GET /v1/usage/export`: every charge and credit of a span of time, as a file that streams."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from app.api.auth import Authenticated
from app.api.formats import ExportFormat, heading, written
from app.api.published import REFUSALS
from app.api.spending import WINDOW, aware
from app.api.state import services
from app.ledger.exports import ChargeRow
from app.tenants.directory import Tenant

router = APIRouter(prefix="/v1", tags=["spending"], responses=REFUSALS)


@router.get(
    "/usage/export",
    summary="Export this tenant's charges and credits",
    response_class=StreamingResponse,
    responses={200: {"content": {form.media_type: {} for form in ExportFormat}}},
)
async def export_usage(
    request: Request,
    tenant: Authenticated,
    form: Annotated[ExportFormat, Query(alias="format")] = ExportFormat.CSV,
    start: Annotated[
        datetime | None, Query(alias="from", description="Included; default: 30 days ago.")
    ] = None,
    end: Annotated[
        datetime | None, Query(alias="to", description="Excluded; default: now.")
    ] = None,
) -> StreamingResponse:
    """A row for each call's charge, refund and adjustment posted in a span of time, oldest first.

    `csv` and `jsonl` have the ledger's own columns, `focus` those of the FinOps Open Cost and Usage
    Specification 1.2. The amounts of a month add up to its statement.
    """
    until = datetime.now(UTC) if end is None else aware("to", end)
    since = until - WINDOW if start is None else aware("from", start)
    pages = services(request).books.exports.pages(start=since, end=until, tenant_id=tenant.id)
    # The first page before the status: a database out of reach is a 503, not half a file.
    first = await anext(pages, None)
    name = f"fathom-{since:%Y%m%d}-{until:%Y%m%d}.{form.suffix}"
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    text = _text(form, tenant, first, pages)
    return StreamingResponse(text, media_type=form.media_type, headers=headers)


async def _text(
    form: ExportFormat,
    tenant: Tenant,
    first: Sequence[ChargeRow] | None,
    pages: AsyncGenerator[Sequence[ChargeRow]],
) -> AsyncGenerator[str]:
    names: Mapping[str, str] = {tenant.id: tenant.name}
    yield heading(form)
    if first is not None:
        yield written(form, first, names)
    async for page in pages:
        yield written(form, page, names)
