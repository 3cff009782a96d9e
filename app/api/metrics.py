"""What Prometheus scrapes. It names tenants: keep it from whoever may not see them."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.state import services
from app.telemetry.metrics import CONTENT_TYPE

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Every metric, rendered in a thread: it takes milliseconds that requests should not wait."""
    text = await asyncio.to_thread(services(request).metrics.render)
    return Response(text, media_type=CONTENT_TYPE)
