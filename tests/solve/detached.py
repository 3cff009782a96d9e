"""Solves that no client waits for, as their tenant sees them, and replicas that run them."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.providers.scripted import Answer, Script, ScriptedProvider
from app.settings import Dispatch, Settings
from app.telemetry.readiness import Drain
from app.wiring import Gateway, open_gateway
from tests.backends import REAL, SQLITE, Backends, empty_database, skip
from tests.gateway import Json, scripted_config

ENDED_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Site:
    """An empty database, and who runs what no client waits for."""

    url: str
    dispatch: Dispatch


@pytest.fixture(
    params=[
        pytest.param((SQLITE, "inline"), id="inline-sqlite"),
        pytest.param((REAL, "inline"), id="inline-postgresql"),
        pytest.param((REAL, "dbos"), id="dbos"),
    ]
)
async def site(request: pytest.FixtureRequest, backends: Backends, tmp_path: Path) -> Site:
    """Each dispatcher, on each database that it runs on."""
    kind, dispatch = request.param
    if dispatch == "dbos" and find_spec("dbos") is None:
        skip("the extra dbos is not installed")
    return Site(await empty_database(kind, backends, tmp_path), dispatch)


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
    dispatch: Dispatch = "inline",
    solves_max: int = 256,
) -> AsyncGenerator[tuple[Gateway, ScriptedProvider]]:
    """One of several gateways of a database."""
    provider = ScriptedProvider(script)
    settings = Settings(
        database_url=url,
        redis_url=redis_url,
        lease_s=lease_s,
        dispatch=dispatch,
        solves_max=solves_max,
    )
    async with open_gateway(
        settings, scripted_config(), providers={"scripted": provider}, drain=drain
    ) as gateway:
        yield gateway, provider
