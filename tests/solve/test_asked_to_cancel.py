"""A tenant that cancels a solve: it ends, wherever it runs, and its account is settled."""

import asyncio

import httpx
import pytest
from sqlalchemy import select

from app.ledger.tables import Solve
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, by_op, held, reply
from tests.gateway import Json, assert_balanced, exact, fathom, open_account, served, unexpected
from tests.solve.detached import Site, begin, ended, replica

SEARCH: Json = {"mode": "search", "search": {"concurrency": 2, "max_nodes": 64}} | exact("391")
PATIENT: Json = SEARCH | {"search": {"concurrency": 2, "max_nodes": 512, "patience": 512}}


async def cancel(client: httpx.AsyncClient, location: str) -> httpx.Response:
    """Ask for the end of a solve."""
    return await client.post(f"{location}/cancel")


async def test_cancelled_background_solve_has_ended_when_that_is_answered(
    site: Site,
) -> None:
    """Its call in flight is cut short, what was charged stays charged, asking again is harmless."""
    script = by_op({"gate.first": reply("7"), "*": held(asyncio.Event(), reply("8"))})
    async with fathom(site.url, script, dispatch=site.dispatch) as running:
        location = (await begin(running.client, {})).headers["Location"]
        await running.provider.arrived(2)
        response = await cancel(running.client, location)
        solve = response.json()
        assert (response.status_code, solve["status"]) == (200, "cancelled")
        assert (solve["stop_reason"], solve["output_text"]) == ("cancelled", "7")
        assert running.provider.cancelled == 1
        assert [call.state for call in await running.calls()] == ["ok", "cancelled"]
        for levels in await running.budgets():
            assert levels.reserved == 0
        assert (await cancel(running.client, location)).json() == solve
        assert (await running.client.get(location)).json() == solve


async def test_client_that_waits_is_told_that_its_solve_was_cancelled(sqlite_url: str) -> None:
    """By another request of its tenant; it gets the best that was paid for."""
    async with (
        fathom(sqlite_url, held(asyncio.Event(), reply("8"))) as running,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(running.solve(SEARCH))
        await running.provider.arrived(2)
        async with running.gateway.database.read() as tx:
            solve_id = await tx.scalar(select(Solve.id))
        cancelled = await cancel(running.client, f"/v1/solves/{solve_id}")
        assert cancelled.json()["status"] == "cancelled"
        response = await waiting
        assert (response.status_code, response.json()) == (200, cancelled.json())


@pytest.mark.parametrize("moment", range(12))
async def test_solve_may_be_cancelled_at_any_moment(sqlite_url: str, moment: int) -> None:
    """Before its first call, between two, while one is booked, or when it has just ended."""

    async def slow(_request: CompletionRequest) -> Answer:
        await asyncio.sleep(0.002)
        return reply("8")

    async with fathom(sqlite_url, slow) as running:
        body = SEARCH if moment % 2 else {}
        location = (await begin(running.client, body)).headers["Location"]
        await asyncio.sleep(moment * 0.003)
        response = await cancel(running.client, location)
        assert response.status_code == 200
        assert response.json()["status"] in {"cancelled", "completed", "incomplete"}


async def test_ended_solve_stays_as_it_ended(sqlite_url: str) -> None:
    """The answer is the solve, as it was."""
    async with fathom(sqlite_url, reply("391")) as running:
        solve = await running.solved(SEARCH)
        response = await cancel(running.client, solve["links"]["self"])
        assert (response.status_code, response.json()) == (200, solve)


async def test_solve_of_another_tenant_cannot_be_cancelled(sqlite_url: str) -> None:
    """404, and it goes on."""
    gate = asyncio.Event()
    async with fathom(sqlite_url, held(gate, reply("391"))) as running:
        location = (await begin(running.client, SEARCH)).headers["Location"]
        other = await open_account(running.gateway)
        headers = {"Authorization": f"Bearer {other.key}"}
        for path in (location, "/v1/solves/slv_never"):
            response = await running.client.post(f"{path}/cancel", headers=headers)
            assert (response.status_code, response.json()["code"]) == (404, "not-found")
        gate.set()
        assert (await ended(running.client, location))["status"] == "completed"


@pytest.mark.parametrize(
    ("lease_s", "answers"),
    [
        pytest.param(60, True, id="learned with the next call"),
        pytest.param(0.5, False, id="learned with the next heartbeat"),
    ],
)
async def test_solve_of_another_replica_is_cancelled(
    site: Site, *, lease_s: float, answers: bool
) -> None:
    """202 at first; its runner learns of it without being reached, and settles."""

    async def script(_request: CompletionRequest) -> Answer:
        await (asyncio.sleep(0.05) if answers else asyncio.Event().wait())
        return reply("8")

    async with (
        replica(site.url, script, lease_s=lease_s, dispatch=site.dispatch) as (first, provider),
        replica(site.url, unexpected, lease_s=lease_s) as (second, _),
    ):
        account = await open_account(first)
        async with (
            served(first, account.key) as (_, client),
            served(second, account.key) as (_, elsewhere),
        ):
            location = (await begin(client, PATIENT)).headers["Location"]
            await provider.arrived(2)
            response = await cancel(elsewhere, location)
            assert (response.status_code, response.json()["status"]) == (202, "in_progress")
            assert response.headers["Location"] == location
            solve = await ended(elsewhere, location)
            assert (solve["status"], solve["stop_reason"]) == ("cancelled", "cancelled")
        assert provider.in_flight == 0
        assert len(provider.requests) < 512
        await assert_balanced(first)


async def test_cancelled_solve_of_a_dead_replica_is_not_taken_up_again(site: Site) -> None:
    """Whoever claims it only settles it: no call is made."""
    script = held(asyncio.Event(), reply("8"))
    async with replica(site.url, script, lease_s=0.3, dispatch=site.dispatch) as (first, provider):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            location = (await begin(client, SEARCH)).headers["Location"]
            await provider.arrived(2)
    async with replica(site.url, unexpected, lease_s=0.6, dispatch=site.dispatch) as (second, idle):
        async with served(second, account.key) as (_, client):
            assert (await cancel(client, location)).status_code == 202
            assert (await ended(client, location))["status"] == "cancelled"
        assert idle.requests == []
        await assert_balanced(second)
