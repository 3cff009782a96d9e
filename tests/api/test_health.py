"""What a gateway answers about itself: ready or not, its metrics, its ids, and its bugs."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
from sqlalchemy import text

from app.db import migrate
from app.db.engine import Database, WriteTx
from app.db.probe import database_trouble, schema_trouble
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, ScriptedProvider
from app.settings import Settings
from app.telemetry.readiness import Drain
from app.wiring import Gateway, open_gateway
from tests.gateway import MALFORMED_KEY, fathom, scripted_config, served

TRACE = "0af7651916cd43dd8448eb211c80319c"
NOWHERE = "redis://127.0.0.1:1/0"


def broken(request: CompletionRequest) -> Answer:
    """A script that has a bug."""
    raise LookupError(f"no call was expected, but {request.op} was made")


@asynccontextmanager
async def opened(
    settings: Settings, drain: Drain | None = None
) -> AsyncGenerator[tuple[Gateway, httpx.AsyncClient]]:
    """A gateway without a tenant, and a client without a key."""
    scripted = {"scripted": ScriptedProvider(broken)}
    async with (
        open_gateway(settings, scripted_config(), providers=scripted, drain=drain) as gateway,
        served(gateway, MALFORMED_KEY) as (_, client),
    ):
        yield gateway, client


async def test_a_gateway_whose_parts_answer_is_ready(database_url: str) -> None:
    """And says which parts it asked."""
    async with opened(Settings(database_url=database_url)) as (_, client):
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    parts = {"database": "ok", "schema": "ok", "redis": "ok"}
    assert answer.json() == {"status": "ok", "parts": parts}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_gateway_without_its_redis_is_not_ready(sqlite_url: str) -> None:
    """It is alive all the same: to restart it would not help."""
    settings = Settings(database_url=sqlite_url, redis_url=NOWHERE)
    async with opened(settings) as (_, client):
        answer, alive = await client.get("/readyz"), await client.get("/healthz")
    assert answer.status_code == 503
    parts = {"database": "ok", "schema": "ok", "redis": "down: cannot be reached"}
    assert answer.json() == {"status": "down", "parts": parts}
    assert alive.status_code == 200


async def test_a_draining_gateway_is_not_ready(sqlite_url: str) -> None:
    """While it ends what it has begun."""
    drain = Drain()
    async with opened(Settings(database_url=sqlite_url), drain) as (_, client):
        drain.begun = True
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "draining", "parts": {}}


async def test_a_database_that_is_gone_is_told() -> None:
    """In words that give no address away."""
    gone = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    assert await database_trouble(gone) == "cannot be reached"
    assert await schema_trouble(gone, migrate.revisions()) == "cannot be read"
    await gone.aclose()


async def test_only_a_schema_behind_this_version_is_not_fit(database_url: str) -> None:
    """A newer one is: migrations run before the code that needs them replaces this."""
    revisions, database = migrate.revisions(), Database(database_url)
    assert len(revisions.known) > 1
    for found, fit in (("0001", False), ("from-tomorrow", True), (revisions.head, True)):
        await database.write(partial(_stamp, revision=found))
        assert (await schema_trouble(database, revisions) is None) is fit
    await database.aclose()


async def _stamp(tx: WriteTx, *, revision: str | None) -> None:
    await tx.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


async def test_a_database_without_a_schema_is_not_fit(bare_database_url: str) -> None:
    """Nobody has migrated it."""
    database = Database(bare_database_url)
    assert await database_trouble(database) is None
    assert await schema_trouble(database, migrate.revisions()) is not None
    await database.aclose()


async def test_metrics_need_no_key_and_are_rendered_off_the_loop(sqlite_url: str) -> None:
    """A scrape takes milliseconds that no request should wait for."""
    async with opened(Settings(database_url=sqlite_url)) as (gateway, client):
        threads: list[int] = []
        registry = gateway.services.metrics.registry
        registry.register(_Witness(lambda: threads.append(threading.get_ident())))
        threads.clear()
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "\nfathom_inflight_solves 0.0\n" in answer.text
    assert threads
    assert threading.get_ident() not in threads


class _Witness:
    """A collector that sees who collects."""

    def __init__(self, seen: Callable[[], None]) -> None:
        self._seen = seen

    def collect(self) -> list[Any]:
        self._seen()
        return []


async def test_requests_are_counted_by_template(sqlite_url: str) -> None:
    """Never by a path, of which there is no end."""
    async with opened(Settings(database_url=sqlite_url)) as (_, client):
        for number in range(3):
            await client.get(f"/v1/solves/slv_{number}")
            await client.get(f"/nothing/{number}")
            await client.request("PROPFIND", "/healthz")
        found = (await client.get("/metrics")).text
    count = "fathom_http_requests_total"
    assert f'{count}{{method="GET",route="/v1/solves/{{solve_id}}",status="401"}} 3.0' in found
    assert f'{count}{{method="GET",route="other",status="404"}} 3.0' in found
    assert f'{count}{{method="other",route="/healthz",status="405"}} 3.0' in found
    assert "slv_" not in found


async def test_a_trace_is_continued_in_the_answer(sqlite_url: str) -> None:
    """Under a span of ours, beside an id that is new for each request."""
    async with opened(Settings(database_url=sqlite_url)) as (_, client):
        sent = f"00-{TRACE}-b7ad6b7169203331-01"
        continued = (await client.get("/healthz", headers={"traceparent": sent})).headers
        begun = (await client.get("/healthz")).headers
    assert continued["traceparent"].startswith(f"00-{TRACE}-")
    assert continued["traceparent"] != sent
    assert begun["traceparent"].endswith("-00")
    assert continued["x-request-id"] != begun["x-request-id"]


async def test_a_bug_is_answered_under_its_request_id(sqlite_url: str) -> None:
    """Without a word of what went wrong."""
    async with fathom(sqlite_url, broken) as running:
        answer = await running.solve({"mode": "single"})
        assert answer.status_code == 500
        assert answer.json()["code"] == "internal"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "no call was expected" not in answer.text
        # What the script raised broke off a call that was never charged; the books still balance.
        assert (await running.client.get("/readyz")).status_code == 200
        found = (await running.client.get("/metrics")).text
    series = 'fathom_http_requests_total{method="POST",route="/v1/solve",status="500"} 1.0'
    assert series in found
    assert 'fathom_solves_total{route="single",status="failed",tenant="other"} 1.0' in found


async def test_requests_at_once_keep_their_ids_apart(sqlite_url: str) -> None:
    """Each answer has the id and the trace of its own request."""
    async with opened(Settings(database_url=sqlite_url)) as (_, client):
        traces = [f"{number:032x}" for number in range(1, 21)]
        answers = await asyncio.gather(
            *(
                client.get("/readyz", headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
                for trace in traces
            )
        )
    assert [answer.headers["traceparent"].split("-")[1] for answer in answers] == traces
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
