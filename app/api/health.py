"""Whether the process is alive, and whether it can serve."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app import __version__
from app.api.state import services
from app.telemetry.readiness import Ready

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Alive?")
async def healthz() -> JSONResponse:
    """200 while the event loop turns; says nothing about the database."""
    return JSONResponse({"status": "ok", "version": __version__})


@router.get(
    "/readyz",
    summary="Ready?",
    responses={503: {"description": "A part is down, or the process is about to end."}},
)
async def readyz(request: Request) -> JSONResponse:
    """200 when every part answers, else 503 and which one does not; at most a second old."""
    report = await services(request).readiness.report()
    return JSONResponse(
        {"status": report.status, "parts": dict(report.parts)},
        200 if report.status is Ready.READY else 503,
        {"Cache-Control": "no-store"},
    )
