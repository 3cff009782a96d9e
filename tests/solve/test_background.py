"""Solves that nobody waits for: accepted once their money is held, and run to their end."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import ColumnElement, func, select

from app.accounts import Allowance, open_tenant
from app.data.game24 import puzzles
from app.db.engine import Database
from app.demo import serving
from app.ledger.invariants import check
from app.ledger.periods import Period
from app.ledger.records import Records
from app.ledger.tables import Call, Solve
from app.money import from_usd
from app.providers.scripted import by_op, held, reply
from app.solve.attempt import HandedOver
from app.solve.request import Mode, SolveRequest, Turn
from app.telemetry.readiness import Drain
from tests.backends import opened
from tests.gateway import (
    Json,
    assert_balanced,
    exact,
    fathom,
    open_account,
    served,
    unexpected,
)
from tests.solve.detached import ENDED_S, Site, begin, ended, replica
from tests.solve.serving import gateway_process, kill_9, slow_config

SINGLE: Json = {"mode": "single"}
SEARCH: Json = {"mode": "search", "search": {"concurrency": 2, "max_nodes": 4}} | exact("391")


async def test_background_solve_is_accepted_with_its_money_held(site: Site) -> None:
    """202 and where to read it, before any model has answered; the result is there later."""
    gate = asyncio.Event()
    async with fathom(site.url, held(gate, reply("391")), dispatch=site.dispatch) as running:
        accepted = await begin(running.client, SINGLE)
        solve = accepted.json()
        assert accepted.status_code == 202
        assert accepted.headers["Location"] == f"/v1/solves/{solve['id']}" == solve["links"]["self"]
        assert (solve["object"], solve["status"]) == ("solve", "in_progress")
        assert (await running.client.get(solve["links"]["self"])).json() == solve
        assert all(levels.reserved > 0 for levels in await running.budgets())
        gate.set()
        result = await ended(running.client, accepted.headers["Location"])
        assert (result["status"], result["output_text"]) == ("completed", "391")


async def test_client_that_leaves_changes_nothing(site: Site) -> None:
    """Over a real connection, cut while the search runs: it goes on to its end."""
    gate = asyncio.Event()
    async with (
        fathom(site.url, held(gate, reply("391")), dispatch=site.dispatch) as running,
        serving(running.gateway) as address,
    ):
        headers = {"Authorization": f"Bearer {running.account.key}"}
        async with httpx.AsyncClient(base_url=address, headers=headers) as client:
            accepted = await begin(client, SEARCH)
            await running.provider.arrived(1)
        gate.set()
        result = await ended(running.client, accepted.headers["Location"])
        assert (result["status"], result["stop_reason"]) == ("completed", "target_score")
        assert running.provider.cancelled == 0


async def test_fault_ends_one_background_solve_and_no_other(site: Site) -> None:
    """A bug of the gateway is settled with what was answered before; the next solve runs."""
    script = by_op({"gate.first": reply("7")})  # a second answer is not scripted: a bug
    async with fathom(site.url, script, dispatch=site.dispatch) as running:
        broken = await begin(running.client, {"gate": {"second_opinion": "always"}})
        result = await ended(running.client, broken.headers["Location"])
        assert result["status"] == "incomplete"
        whole = await begin(running.client, SINGLE)
        assert (await ended(running.client, whole.headers["Location"]))["status"] == "completed"


async def test_no_more_run_than_a_process_may(site: Site) -> None:
    """429 with nothing held, however many come at once; a place that is left is taken again."""
    gate = asyncio.Event()
    async with fathom(
        site.url, held(gate, reply("391")), background_max=2, dispatch=site.dispatch
    ) as running:
        crowd = await asyncio.gather(*(begin(running.client, SINGLE) for _ in range(5)))
        taken = [response for response in crowd if response.status_code == 202]
        refused = [response for response in crowd if response.status_code == 429]
        assert (len(taken), len(refused)) == (2, 3)
        for response in refused:
            assert response.json()["code"] == "rate-limited"
            assert int(response.headers["Retry-After"]) > 0
        assert len(await running.solves()) == 2
        gate.set()
        for response in taken:
            await ended(running.client, response.headers["Location"])
        async with asyncio.timeout(ENDED_S):
            while (again := await begin(running.client, SINGLE)).status_code != 202:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await ended(running.client, again.headers["Location"])


async def test_refused_solve_leaves_its_place(site: Site) -> None:
    """What was not admitted does not run."""
    poor: Json = SINGLE | {"budget": {"max_cost_usd": "0.000000001"}}
    async with fathom(site.url, reply("391"), background_max=1, dispatch=site.dispatch) as running:
        assert (await begin(running.client, poor)).status_code == 402
        accepted = await begin(running.client, SINGLE)
        assert accepted.status_code == 202
        await ended(running.client, accepted.headers["Location"])


async def test_request_sent_again_is_answered_with_the_same_solve(site: Site) -> None:
    """202 while it runs, for the first 202 may have been lost; then the stored result."""
    gate = asyncio.Event()
    async with fathom(site.url, held(gate, reply("391")), dispatch=site.dispatch) as running:
        first = await begin(running.client, SINGLE, key="order-66")
        again = await begin(running.client, SINGLE, key="order-66")
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
        assert again.headers["Location"] == first.headers["Location"]
        gate.set()
        result = await ended(running.client, first.headers["Location"])
        stored = await begin(running.client, SINGLE, key="order-66")
        assert (stored.status_code, stored.json()) == (200, result)
        assert len(await running.calls()) == 1


async def test_background_needs_a_key_and_a_store(site: Site) -> None:
    """Without a key a lost 202 would be paid twice; without a store there is nothing to read."""
    async with fathom(site.url, unexpected, dispatch=site.dispatch) as running:
        keyless = await running.solve(SINGLE, background=True)
        assert keyless.status_code == 422
        assert keyless.json()["errors"][0]["field"] == "Idempotency-Key"
        assert (await begin(running.client, SINGLE | {"store": False})).status_code == 422
        assert await running.solves() == []


@pytest.mark.parametrize(
    ("comes_back", "states"),
    [
        pytest.param(True, ["ok", "ok", "ok", "ok"], id="calls in flight are waited for"),
        pytest.param(False, ["ok", "ok", "ok", "ok", "orphan", "orphan"], id="but not for ever"),
    ],
)
async def test_drain_hands_a_search_over(
    site: Site, *, comes_back: bool, states: list[str]
) -> None:
    """As the gateway closes no call is begun; the next replica goes on and pays for none twice."""
    gate = asyncio.Event()
    wrong = reply("7")
    async with replica(site.url, held(gate, wrong), dispatch=site.dispatch) as (first, provider):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            accepted = await begin(client, SEARCH)
            await provider.arrived(2)
        if comes_back:
            asyncio.get_running_loop().call_later(0.1, gate.set)
    assert len(provider.requests) == 2
    assert provider.cancelled == (0 if comes_back else 2)
    async with replica(site.url, wrong, dispatch=site.dispatch) as (second, _):
        async with served(second, account.key) as (_, client):
            result = await ended(client, accepted.headers["Location"])
        assert (result["status"], result["stop_reason"]) == ("incomplete", "max_nodes")
        assert result["search"]["nodes"] == 4
        async with second.database.read() as tx:
            assert sorted((await tx.scalars(select(Call.state))).all()) == states
        await assert_balanced(second)


async def test_draining_process_takes_nothing_over(site: Site) -> None:
    """It would only have to hand it over again; a process that stays does."""
    drain = Drain(begun=True)
    async with replica(
        site.url, held(asyncio.Event(), reply("7")), lease_s=0.2, dispatch=site.dispatch
    ) as (first, _):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            accepted = await begin(client, SINGLE)
    async with replica(
        site.url, reply("391"), lease_s=0.2, drain=drain, dispatch=site.dispatch
    ) as (second, provider):
        async with served(second, account.key) as (_, client):
            await asyncio.sleep(1.0)
            assert provider.requests == []
            drain.begun = False
            result = await ended(client, accepted.headers["Location"])
        assert (result["status"], result["output_text"]) == ("completed", "391")


async def _count(database: Database, *where: ColumnElement[bool]) -> int:
    async with database.read() as tx:
        return int(await tx.scalar(select(func.count()).where(*where)) or 0)


async def _until(database: Database, *where: ColumnElement[bool], at_least: int) -> None:
    async with asyncio.timeout(60):
        while await _count(database, *where) < at_least:  # noqa: ASYNC110 - another process's work
            await asyncio.sleep(0.05)


def _puzzle(number: int) -> dict[str, Any]:
    puzzle = puzzles()[number]
    config = {"numbers": list(puzzle.numbers), "target": 24}
    return {
        "input": puzzle.problem,
        "mode": "search",
        "seed": number,
        "evaluators": [{"type": "expression", "config": config}],
        "search": {"max_nodes": 8, "patience": 8, "concurrency": 4},
    }


async def test_background_solves_of_a_killed_process_are_finished_by_the_next(
    site: Site, redis_url: str | None, tmp_path: Path
) -> None:
    """What was accepted with 202 ends, whatever becomes of the process that accepted it."""
    config, solves = slow_config(tmp_path, latency_s=0.05), 4
    tree_store = None if site.url.startswith("sqlite") else redis_url
    started = partial(
        gateway_process,
        config,
        database_url=site.url,
        redis_url=tree_store,
        FATHOM_DISPATCH=site.dispatch,
    )
    async with opened(site.url) as database:
        allowance = Allowance(limit=from_usd("20"), period=Period.TOTAL)
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        headers = {"Authorization": f"Bearer {account.key}"}
        async with started() as (process, address):
            async with httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as client:
                accepted = [await begin(client, _puzzle(number)) for number in range(solves)]
            await _until(database, Call.state == "ok", at_least=1)
            kill_9(process)
        assert await _count(database, Solve.state == "in_progress") > 0, "killed too late"
        async with (
            started() as (_, address),
            httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as client,
        ):
            for response in accepted:
                result = await ended(client, response.headers["Location"])
                assert result["status"] in {"completed", "incomplete"}
        broken = [finding for finding in await check(database) if not finding.holds]
        assert broken == []


async def test_what_is_handed_over_unmade_leaves_no_call(database_url: str) -> None:
    """A first call that another process will make was never begun here, so none may look open."""
    async with replica(database_url, unexpected) as (gateway, _):
        account = await open_account(gateway)
        tenant = await gateway.services.directory.authenticate(account.key)
        request = SolveRequest(
            turns=(Turn("user", "?"),), seed=1, mode=Mode.SINGLE, background=True
        )
        run = await gateway.services.solver.admit(tenant, request)
        run.attempts.hand_over()
        with pytest.raises(HandedOver):
            await gateway.services.solver.run(run)
        assert await Records(gateway.database).calls(run.claim.solve_id) == []
