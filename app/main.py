"""The ASGI application, and its factory: `uvicorn --factory app.main:create_app`."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app.api.app import build
from app.settings import read_config, read_settings
from app.telemetry import logs
from app.wiring import Gateway, open_gateway


def create_app() -> FastAPI:
    """The application, configured by the environment, which opens its gateway as it starts."""
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format)
    config = read_config(settings.config)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[Mapping[str, Any]]:
        async with open_gateway(settings, config) as gateway:
            yield {"services": gateway.services}

    return build(lifespan)


def app_of(gateway: Gateway) -> FastAPI:
    """The application of a gateway that is open already."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[Mapping[str, Any]]:
        yield {"services": gateway.services}

    return build(lifespan)
