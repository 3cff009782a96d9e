"""A gateway whose models follow a script, reached through its front door.

Experts are `cheap` (answers first), `second` (the opinion) and `strong`; a search chooses among
`cheap` and `strong`. Whatever a test does, the books must balance when its gateway closes.
"""

import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.types import ASGIApp, Receive, Scope, Send

from app.accounts import Allowance, NewAccount, open_tenant
from app.api.app import build
from app.ids import uuid7
from app.ledger.invariants import check
from app.ledger.periods import Period
from app.ledger.postings import CallState
from app.ledger.tables import Budget, Call, Entry, Solve
from app.money import NanoUSD, from_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, Script, ScriptedProvider
from app.settings import Dispatch, GatewayConfig, Settings
from app.wiring import Gateway, open_gateway
from tests.backends import Backends

Json = dict[str, Any]

INPUT_RATE: Final = 1_000
"""Nano-dollars a token in, for every scripted expert; $1 a million."""

OUTPUT_RATE: Final = 10_000
"""Nano-dollars a token out; $10 a million."""

OUTPUT_TOKENS_MAX: Final = 1_000
"""Of every scripted expert, so that a call holds little more than a cent."""

PLENTY: Final = Allowance(limit=from_usd("100"), period=Period.TOTAL)

MALFORMED_KEY: Final = "fathom_nonsense"


@pytest.fixture
def sqlite_url(backends: Backends, tmp_path: Path) -> str:
    """An embedded database of this test's own, where `database_url` would tell no more."""
    return copied(backends, tmp_path)


def copied(backends: Backends, folder: Path) -> str:
    """A copy of the migrated file: its URL."""
    shutil.copyfile(backends.template, folder / "fathom.db")
    return f"sqlite+aiosqlite:///{folder / 'fathom.db'}"


def scripted_config(**policy: Any) -> GatewayConfig:  # noqa: ANN401 - what the file may say
    """Three experts at one price; `policy` overrides the default policy's fields."""
    expert = {
        "provider": "scripted",
        "max_output_tokens": OUTPUT_TOKENS_MAX,
        "input_usd_per_mtok": "1",
        "output_usd_per_mtok": "10",
    }
    roles: Json = {
        "default_expert": "cheap",
        "second_opinion_expert": "second",
        "strong_expert": "strong",
        "search_experts": ["cheap", "strong"],
    }
    return GatewayConfig.model_validate(
        {
            "providers": {"scripted": {"kind": "replay", "recordings": "never opened"}},
            "experts": {name: expert | {"model": name} for name in ("cheap", "second", "strong")},
            "policies": {"default": roles | policy},
            # What happens to a request is told here; how it is decided, in tests of the gate.
            "gate": {"weights": "none"},
        }
    )


def cost(input_tokens: int, output_tokens: int) -> NanoUSD:
    """What a scripted expert's call costs."""
    return NanoUSD(input_tokens * INPUT_RATE + output_tokens * OUTPUT_RATE)


def exact(expected: str) -> Json:
    """The evaluators of a body: one, decisive."""
    return {"evaluators": [{"type": "exact", "config": {"expected": expected}}]}


@dataclass(frozen=True, slots=True)
class CallRow:
    """A journalled call."""

    op: str
    attempt: int
    state: str
    cost: NanoUSD
    max_cost: NanoUSD
    estimated: bool


@dataclass(frozen=True, slots=True)
class Levels:
    """Every budget added up."""

    limit: NanoUSD
    posted: NanoUSD
    reserved: NanoUSD


@dataclass(frozen=True, slots=True)
class Fathom:
    """The running gateway, one tenant of it, and a client that holds the tenant's key."""

    gateway: Gateway
    app: FastAPI
    provider: ScriptedProvider
    account: NewAccount
    client: httpx.AsyncClient

    async def solve(self, body: Json | None = None, **more: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """Post a body; its `input` and `seed` are filled in where it has none."""
        document = {"input": "What is 17 * 23?", "seed": 1} | (body or {}) | more
        return await self.client.post("/v1/solve", json=document)

    async def solved(self, body: Json | None = None, **more: Any) -> Json:  # noqa: ANN401 - JSON
        """The solve object, where there must be one."""
        response = await self.solve(body, **more)
        assert response.status_code == 200, response.text
        document: Json = response.json()
        return document

    async def tree(self, solve: Json) -> Json:
        """The solve's tree."""
        response = await self.client.get(solve["links"]["tree"])
        document: Json = response.raise_for_status().json()
        return document

    def ops(self) -> list[str]:
        """The ops that the provider was asked for, in order of arrival."""
        return [request.op for request in self.provider.requests]

    async def calls(self) -> list[CallRow]:
        """The journal of every solve, in order of intent."""
        query = select(
            Call.op, Call.attempt, Call.state, Call.cost, Call.max_cost, Call.estimated
        ).order_by(Call.started_at, Call.id)
        async with self.gateway.database.read() as tx:
            return [CallRow(*row) for row in (await tx.execute(query)).all()]

    async def accounts(self) -> dict[str, int]:
        """The balance of every account, by its kind."""
        query = select(Entry.account, func.sum(Entry.amount)).group_by(Entry.account)
        async with self.gateway.database.read() as tx:
            rows = (await tx.execute(query)).all()
        return {account.partition(":")[0]: int(amount) for account, amount in rows}

    async def budgets(self) -> list[Levels]:
        """Each budget row of every tenant."""
        query = select(Budget.lim, Budget.posted, Budget.reserved)
        async with self.gateway.database.read() as tx:
            return [Levels(*row) for row in (await tx.execute(query)).all()]

    async def solves(self) -> Sequence[str]:
        """The state of every solve."""
        async with self.gateway.database.read() as tx:
            return (await tx.execute(select(Solve.state).order_by(Solve.id))).scalars().all()


async def assert_balanced(gateway: Gateway) -> None:
    """The books of an idle gateway: every rule holds, nothing is open, nothing is held."""
    broken = [finding for finding in await check(gateway.database) if not finding.holds]
    assert broken == []
    async with gateway.database.read() as tx:
        assert (await tx.execute(select(Budget.id).where(Budget.reserved != 0))).all() == []
        open_calls = select(Call.id).where(Call.state == CallState.INTENT)
        assert (await tx.execute(open_calls)).all() == []
        running = select(Solve.id).where(Solve.completed_at.is_(None))
        assert (await tx.execute(running)).all() == []


@asynccontextmanager
async def fathom(
    database_url: str,
    script: Answer | Script,
    *,
    allowance: Allowance = PLENTY,
    config: GatewayConfig | None = None,
    redis_url: str | None = None,
    background_max: int = 64,
    webhooks_allow: str = "",
    solves_max: int = 256,
    queue_max: int = 1024,
    batch_max: int = 8,
    dispatch: Dispatch = "inline",
) -> AsyncGenerator[Fathom]:
    """A gateway that answers by `script`, and a tenant with `allowance`."""
    provider = ScriptedProvider(script)
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        background_max=background_max,
        webhooks_allow=webhooks_allow,
        solves_max=solves_max,
        queue_max=queue_max,
        batch_max=batch_max,
        dispatch=dispatch,
    )
    async with open_gateway(
        settings,
        scripted_config() if config is None else config,
        providers={"scripted": provider},
    ) as gateway:
        account = await open_account(gateway, allowance)
        async with served(gateway, account.key) as (app, client):
            yield Fathom(gateway, app, provider, account, client)
        await assert_balanced(gateway)


async def open_account(gateway: Gateway, allowance: Allowance = PLENTY) -> NewAccount:
    """Another tenant."""
    name = f"tenant-{uuid7().hex}"
    return await open_tenant(gateway.database, name=name, policy="default", allowance=allowance)


@asynccontextmanager
async def served(gateway: Gateway, key: str) -> AsyncGenerator[tuple[FastAPI, httpx.AsyncClient]]:
    """The gateway's HTTP application in this process, and a client of it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[Json]:
        yield {"services": gateway.services}

    app = build(lifespan)
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        transport = httpx.ASGITransport(_Server(app, state), raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://gateway",
            headers={"Authorization": f"Bearer {key}"},
        ) as client:
            yield app, client


class _Server:
    """What a server does with a lifespan's state: every request gets a copy."""

    def __init__(self, app: ASGIApp, state: Mapping[str, Any]) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(self._state)
        await self._app(scope, receive, send)


def unexpected(request: CompletionRequest) -> Answer:
    """A script for tests that never get as far as a model."""
    raise LookupError(f"no call was expected, but {request.op} was made")
