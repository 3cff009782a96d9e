"""What one tenant has, no other may read, spend, end or even know of: for every route there is.

A route that is added and not told of here fails the first test: whoever adds it says in `ROUTES`
what a stranger gets from it.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select

from app.accounts import Allowance
from app.db.base import Base
from app.ledger.batch_tables import BatchRow
from app.ledger.periods import Period
from app.money import from_usd, to_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, reply
from app.telemetry.readiness import Drain
from tests.dispatch.batching import line, output, over, send, sent
from tests.gateway import Fathom, Json, exact, fathom, open_account, served, unexpected
from tests.solve.detached import begin, ended, replica


class Gives(Enum):
    """What a route gives to somebody with the key of another tenant."""

    PUBLIC = auto()
    """What it gives to everybody: nothing of any tenant."""

    NOT_FOUND = auto()
    """404 for a solve of another tenant, as for one that never was."""

    OWN = auto()
    """What belongs to the key that asks, and to no other."""

    OPERATORS = auto()
    """404 where no operator has a key, and nothing to any tenant's."""


ROUTES: Final[Mapping[tuple[str, str], Gives]] = {
    ("GET", "/healthz"): Gives.PUBLIC,
    ("GET", "/readyz"): Gives.PUBLIC,
    ("GET", "/metrics"): Gives.PUBLIC,
    ("GET", "/openapi.json"): Gives.PUBLIC,
    ("GET", "/docs"): Gives.PUBLIC,
    ("GET", "/docs/oauth2-redirect"): Gives.PUBLIC,
    ("GET", "/redoc"): Gives.PUBLIC,
    ("POST", "/v1/solve"): Gives.OWN,
    ("POST", "/v1/solve/estimate"): Gives.OWN,
    ("GET", "/v1/solves"): Gives.OWN,
    ("GET", "/v1/solves/{solve_id}"): Gives.NOT_FOUND,
    ("GET", "/v1/solves/{solve_id}/events"): Gives.NOT_FOUND,
    ("GET", "/v1/solves/{solve_id}/tree"): Gives.NOT_FOUND,
    ("POST", "/v1/solves/{solve_id}/cancel"): Gives.NOT_FOUND,
    ("POST", "/v1/solves/{solve_id}/feedback"): Gives.NOT_FOUND,
    ("POST", "/v1/solves/{solve_id}/resume"): Gives.NOT_FOUND,
    ("GET", "/v1/solves/{solve_id}/receipt"): Gives.NOT_FOUND,
    ("POST", "/v1/batches"): Gives.OWN,
    ("GET", "/v1/batches"): Gives.OWN,
    ("GET", "/v1/batches/{batch_id}"): Gives.NOT_FOUND,
    ("GET", "/v1/batches/{batch_id}/output"): Gives.NOT_FOUND,
    ("POST", "/v1/batches/{batch_id}/cancel"): Gives.NOT_FOUND,
    ("GET", "/v1/budgets"): Gives.OWN,
    ("GET", "/v1/usage"): Gives.OWN,
    ("GET", "/v1/usage/roi"): Gives.OWN,
    ("GET", "/v1/usage/export"): Gives.OWN,
    ("GET", "/v1/statements/{month}"): Gives.OWN,
    ("POST", "/admin/v1/orgs"): Gives.OPERATORS,
    ("GET", "/admin/v1/tenants"): Gives.OPERATORS,
    ("POST", "/admin/v1/tenants"): Gives.OPERATORS,
    ("POST", "/admin/v1/tenants/{tenant}/projects"): Gives.OPERATORS,
    ("GET", "/admin/v1/tenants/{tenant}/keys"): Gives.OPERATORS,
    ("GET", "/admin/v1/usage/roi"): Gives.OPERATORS,
    ("POST", "/admin/v1/tenants/{tenant}/keys"): Gives.OPERATORS,
    ("GET", "/admin/v1/tenants/{tenant}/budgets"): Gives.OPERATORS,
    ("POST", "/admin/v1/keys/{key_id}/revoke"): Gives.OPERATORS,
    ("PUT", "/admin/v1/budgets"): Gives.OPERATORS,
    ("POST", "/admin/v1/budgets/raises"): Gives.OPERATORS,
    ("PUT", "/admin/v1/limits"): Gives.OPERATORS,
}

SPENDS: Final = {"/v1/solve", "/v1/solves/{solve_id}/resume", "/v1/batches"}
"""What is posted there may cost something."""

FREE: Final = {
    "/v1/solve/estimate",
    "/v1/solves/{solve_id}/cancel",
    "/v1/solves/{solve_id}/feedback",
    "/v1/batches/{batch_id}/cancel",
}
"""What is posted there costs nothing, whoever posts it."""

BODIES: Final[Mapping[str, Json]] = {
    "/v1/solves/{solve_id}/feedback": {"correct": True},
    "/v1/solves/{solve_id}/resume": {"budget": {"max_cost_usd": "0.1"}},
}
"""What is posted to a route; an empty object where nothing else is said."""

SECRET: Final = "Marked-Text-41c0"
ORDER: Final = {"Idempotency-Key": "order-66"}
SINGLE: Final[Json] = {"input": SECRET, "mode": "single", "seed": 1}
SEARCH: Final[Json] = {
    "mode": "search",
    "search": {"max_nodes": 3, "concurrency": 1},
    "metadata": {"order": SECRET},
} | exact("391")

POOR: Final = Allowance(limit=from_usd("7"), period=Period.TOTAL)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A tenant with solves of each kind, and a client with the key of another one."""

    running: Fathom
    stranger: httpx.AsyncClient
    solves: Mapping[str, str]
    """Ids of the tenant's solves, by what they are."""

    batch: str
    """The id of the tenant's batch."""

    def at(self, path: str, *, kind: str = "search") -> str:
        """A route's path with the tenant's own names in it; the solve is one of a `kind`."""
        named = {"solve_id": self.solves[kind], "batch_id": self.batch}
        account = self.running.account
        named |= {"tenant": account.tenant_id, "key_id": account.key_id}
        return path.format_map(named | {"month": f"{datetime.now(UTC):%Y-%m}"})


@asynccontextmanager
async def neighbours(url: str) -> AsyncGenerator[Neighbours]:
    """Both, and one solve that runs until the block ends."""
    gate = asyncio.Event()

    async def script(request: CompletionRequest) -> Answer:
        if request.problem == "wait":
            await gate.wait()
        return reply(f"{SECRET} 7")

    async with fathom(url, script) as running:
        single = await running.client.post("/v1/solve", json=SINGLE, headers=ORDER)
        search = await running.solved(SEARCH)
        resumed = await running.client.post(
            f"{search['links']['self']}/resume",
            json={"budget": {}, "search": {"max_nodes": 4}},
            headers={"Idempotency-Key": "order-67"},
        )
        replay = await running.client.post("/v1/solve", json={"replay_of": search["id"]})
        batch = await sent(running.client, [line(SECRET)])
        await over(running.client, batch)
        (of_batch,) = await output(running.client, batch)
        runs = await begin(running.client, {"mode": "single", "input": "wait"}, key="order-68")
        await running.provider.arrived(7)
        made = {
            "single": single.raise_for_status().json()["id"],
            "search": search["id"],
            "resumed": resumed.raise_for_status().json()["id"],
            "replay": replay.raise_for_status().json()["id"],
            "line": of_batch["response"]["body"]["id"],
            "runs": runs.raise_for_status().json()["id"],
        }
        other = await open_account(running.gateway, POOR)
        async with served(running.gateway, other.key) as (_, stranger):
            yield Neighbours(running, stranger, made, batch["id"])
        gate.set()
        result = await ended(running.client, runs.headers["Location"])
        assert result["status"] == "completed", "a stranger has ended it"


async def _rows(running: Fathom) -> Mapping[str, list[str]]:
    """Every row of every table but the heartbeats."""
    tables = [table for table in Base.metadata.sorted_tables if table.name != "replica"]
    async with running.gateway.database.read() as tx:
        return {
            table.name: sorted(str(row) for row in (await tx.execute(select(table))).all())
            for table in tables
        }


async def test_every_route_is_known_here(sqlite_url: str) -> None:
    """Those of the document and those that it leaves out."""
    async with fathom(sqlite_url, unexpected) as running:
        found = {
            (method, context.path)
            for context in iter_route_contexts(running.app.routes)
            for method in (context.methods or {"*"}) - {"HEAD"}
        }
        assert found == set(ROUTES), "say in ROUTES what a stranger gets from it"
        document = (await running.client.get("/openapi.json")).json()
        published = {
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method in methods
        }
        assert published <= set(ROUTES)


async def test_solve_of_another_is_not_there_for_any_route(database_url: str) -> None:
    """404 in the words of one that never was, whatever kind it is, and not a row changes."""
    async with neighbours(database_url) as both:
        before = await _rows(both.running)
        for (method, path), gives in ROUTES.items():
            if gives is not Gives.NOT_FOUND:
                continue
            body = BODIES.get(path, {}) if method == "POST" else None
            thing, names = "solve", [*both.solves.items(), ("none", "slv_never")]
            if "{batch_id}" in path:
                thing, names = "batch", [("batch", both.batch), ("none", "batch_never")]
            for kind, name in names:
                url = path.replace(f"{{{thing}_id}}", name)
                for headers in ({}, ORDER) if method == "POST" else ({},):
                    response = await both.stranger.request(method, url, json=body, headers=headers)
                    problem = response.json()
                    case = method, path, kind
                    assert (response.status_code, problem["code"]) == (404, "not-found"), case
                    assert problem["detail"] == f"there is no {thing} '{name}'", case
                    assert SECRET not in response.text, case
        assert await _rows(both.running) == before


async def test_solve_of_another_cannot_be_replayed(database_url: str) -> None:
    """Its id in a body is worth no more than in a path."""
    async with neighbours(database_url) as both:
        before = await _rows(both.running)
        for solve_id in (*both.solves.values(), "slv_never"):
            body = {"replay_of": solve_id, "include": ["candidates"]}
            response = await both.stranger.post("/v1/solve", json=body)
            assert (response.status_code, response.json()["code"]) == (404, "not-found")
        assert await _rows(both.running) == before


async def test_what_is_ones_own_holds_nothing_of_another(database_url: str) -> None:
    """Lists, budgets and usage: though the other's ids are asked for by name."""
    async with neighbours(database_url) as both:
        before, get = await _rows(both.running), both.stranger.get
        newest = max(both.solves.values())
        for wanted in (
            {},
            {"key": both.running.account.key_id},
            {"after": newest},
            {"after": newest[:-1] + "z"},
            {"metadata_key": "order"},
            {"metadata_key": "order", "metadata_value": SECRET},
            {"status": "in_progress"},
        ):
            page = (await get("/v1/solves", params=wanted)).json()
            assert (page["data"], page["has_more"], page["next"]) == ([], False, None)
        usage = (await get("/v1/usage", params={"group_by": "key"})).json()
        assert usage["data"] == []
        assert (await get("/v1/usage/roi")).json()["total"]["solves"] == 0
        assert (await get("/v1/batches")).json()["data"] == []
        behind = await get("/v1/batches", params={"after": both.batch})
        assert behind.json()["detail"] == f"there is no batch '{both.batch}'"
        statement = (await get(both.at("/v1/statements/{month}"))).json()
        assert (statement["lines"], statement["credits"]) == ([], [])
        export = await get("/v1/usage/export")
        assert len(export.text.splitlines()) == 1, "the names of the columns"
        levels = (await get("/v1/budgets")).json()["data"]
        assert {level["limit_usd"] for level in levels} == {to_usd(POOR.limit)}
        assert {from_usd(level["held_usd"]) for level in levels} == {0}
        estimate = await both.stranger.post("/v1/solve/estimate", json=SINGLE)
        assert estimate.json()["admitted"] is True
        assert await _rows(both.running) == before


async def test_idempotency_key_of_another_says_nothing(database_url: str) -> None:
    """The same key and the same body: a solve of one's own, and the other's stays bound to its."""
    async with neighbours(database_url) as both:
        rows = (await _rows(both.running))["idempotency"]
        theirs = await both.stranger.post("/v1/solve", json=SINGLE, headers=ORDER)
        assert theirs.status_code == 200
        assert "Idempotency-Replayed" not in theirs.headers
        assert theirs.json()["id"] not in both.solves.values()
        another = await both.stranger.post("/v1/solve", json=SINGLE | {"seed": 2}, headers=ORDER)
        assert another.status_code == 422, "bound to the stranger's own by now"
        again = await both.running.client.post("/v1/solve", json=SINGLE, headers=ORDER)
        assert again.json()["id"] == both.solves["single"]
        assert set(rows) < set((await _rows(both.running))["idempotency"])


async def test_batch_under_the_key_of_anothers_is_ones_own(database_url: str) -> None:
    """The same lines under the same key: a batch of one's own, which says nothing of the other."""
    async with neighbours(database_url) as both:
        async with both.running.gateway.database.read() as tx:
            key = await tx.scalar(select(BatchRow.idempotency_key))
        theirs = await send(both.stranger, [line(SECRET)], key=key)
        assert (theirs.status_code, theirs.json()["id"] == both.batch) == (200, False)
        assert "Idempotency-Replayed" not in theirs.headers
        assert (await over(both.stranger, theirs.json()))["request_counts"]["completed"] == 1
        assert (await both.stranger.get(both.at("/v1/batches/{batch_id}"))).status_code == 404


async def test_operators_routes_are_nobodys_without_an_operator(database_url: str) -> None:
    """Whatever is named there, with any tenant's key, and not a row changes."""
    async with neighbours(database_url) as both:
        before = await _rows(both.running)
        for (method, path), gives in ROUTES.items():
            if gives is Gives.OPERATORS:
                for client in (both.stranger, both.running.client):
                    response = await client.request(method, both.at(path), json={})
                    assert (response.status_code, path) == (404, path)
                    assert SECRET not in response.text
        assert await _rows(both.running) == before


async def test_nothing_is_spent_once_the_process_drains(sqlite_url: str) -> None:
    """Whatever may cost something is refused before anything is written, by every such route."""
    posted = {path for method, path in ROUTES if method == "POST" and path.startswith("/v1/")}
    assert posted == SPENDS | FREE, "say in SPENDS or FREE what posting there may cost"
    drain = Drain()
    async with replica(sqlite_url, reply("7"), drain=drain) as (gateway, provider):
        account = await open_account(gateway)
        async with served(gateway, account.key) as (app, client):
            running = Fathom(gateway, app, provider, account, client)
            search = await running.solved(SEARCH)
            before = await _rows(running)
            drain.begun = True
            for path in SPENDS:
                url = path.replace("{solve_id}", search["id"])
                for body in (BODIES.get(path, SINGLE), {"replay_of": search["id"]}):
                    response = await client.post(f"{url}?max_cost_usd=1", json=body, headers=ORDER)
                    problem = response.json()
                    assert (response.status_code, problem["code"]) == (503, "draining"), path
            assert await _rows(running) == before


async def test_public_routes_say_nothing_of_a_tenant(database_url: str) -> None:
    """Neither a text nor a name nor an id."""
    async with neighbours(database_url) as both:
        both.stranger.headers.pop("Authorization")
        named = [SECRET, both.running.account.tenant_id, both.running.account.key_id]
        named += both.solves.values()
        for (method, path), gives in ROUTES.items():
            if gives is Gives.PUBLIC:
                response = await both.stranger.request(method, path)
                assert response.status_code == 200, path
                assert not [name for name in named if name in response.text], path


@pytest.mark.parametrize("key", [None, "Bearer fathom_keyunknown_c2VjcmV0"])
async def test_every_other_route_is_closed_without_a_key(
    database_url: str, *, key: str | None
) -> None:
    """401 before anything is read, and not a row changes."""
    async with neighbours(database_url) as both:
        before = await _rows(both.running)
        both.stranger.headers.pop("Authorization")
        headers = {} if key is None else {"Authorization": key}
        for (method, path), gives in ROUTES.items():
            if gives not in {Gives.PUBLIC, Gives.OPERATORS}:
                url = both.at(path)
                body = BODIES.get(path, SINGLE) if method == "POST" else None
                response = await both.stranger.request(method, url, json=body, headers=headers)
                assert (response.status_code, path) == (401, path)
        assert await _rows(both.running) == before
