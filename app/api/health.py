"""Whether the process is alive."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from app import __version__

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Alive?")
async def healthz() -> JSONResponse:
    """200 while the event loop turns; says nothing about the database."""
    return JSONResponse({"status": "ok", "version": __version__})
