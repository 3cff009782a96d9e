"""The ASGI factory: `uvicorn --factory app.main:create_app`."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app.api.app import build
from app.settings import GatewayConfig, Settings, read_config, read_settings
from app.telemetry import logs
from app.telemetry.readiness import Drain
from app.wiring import open_gateway


def create_app(
    settings: Settings | None = None,
    config: GatewayConfig | None = None,
    *,
    drain: Drain | None = None,
) -> FastAPI:
    """The application, configured by the environment where nothing is handed in.

    Whoever ends the process says so beforehand through `drain`.
    """
    chosen = read_settings() if settings is None else settings
    logs.configure(chosen.log_level, chosen.log_format)
    described = read_config(chosen.config) if config is None else config

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[Mapping[str, Any]]:
        async with open_gateway(chosen, described, drain=drain) as gateway:
            yield {"services": gateway.services}

    return build(lifespan)
