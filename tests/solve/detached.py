"""Solves that no client waits for, as their tenant sees them, and replicas that run them."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from app.providers.scripted import Answer, Script, ScriptedProvider
from app.settings import Settings
from app.telemetry.readiness import Drain
from app.wiring import Gateway, open_gateway
from tests.gateway import Json, scripted_config

ENDED_S: Final = 20.0

_numbers = itertools.count()


async def begin(client: httpx.AsyncClient, body: Json, *, key: str | None = None) -> httpx.Response:
    """Post a body to be solved in the background, under a key of its own."""
    document = {"input": "What is 17 * 23?", "seed": 1, "background": True} | body
    headers = {"Idempotency-Key": f"order-{next(_numbers)}" if key is None else key}
    return await client.post("/v1/solve", json=document, headers=headers)


async def ended(client: httpx.AsyncClient, location: str) -> Json:
    """The solve object, once it has ended."""
    async with asyncio.timeout(ENDED_S):
        while True:
            solve: Json = (await client.get(location)).raise_for_status().json()
            if solve["status"] != "in_progress":
                return solve
            await asyncio.sleep(0.02)


@asynccontextmanager
async def replica(
    url: str,
    script: Answer | Script,
    *,
    lease_s: float = 0.5,
    redis_url: str | None = None,
    drain: Drain | None = None,
) -> AsyncGenerator[tuple[Gateway, ScriptedProvider]]:
    """One of several gateways of a database."""
    provider = ScriptedProvider(script)
    settings = Settings(database_url=url, redis_url=redis_url, lease_s=lease_s)
    async with open_gateway(
        settings, scripted_config(), providers={"scripted": provider}, drain=drain
    ) as gateway:
        yield gateway, provider
