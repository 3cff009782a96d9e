"""A gateway that has more to do than it may do at once, seen from outside."""

import asyncio

from app.money import NanoUSD
from app.providers.scripted import held, reply
from tests.gateway import Fathom, Json, fathom, open_account, served

SINGLE: Json = {"mode": "single"}
ARRIVAL_S = 10.0


async def _waiting(running: Fathom, count: int) -> None:
    """Until so many wait for a turn."""
    wanted = f'fathom_queue_depth{{priority="interactive"}} {float(count)}'
    async with asyncio.timeout(ARRIVAL_S):
        while wanted not in (await running.client.get("/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_full_queue_answers_429_and_waiting_holds_no_money(database_url: str) -> None:
    """One runs, one waits, one is sent away with a time to come back; then both are answered."""
    gate = asyncio.Event()
    async with fathom(database_url, held(gate, reply("391")), solves_max=1, queue_max=1) as running:
        first = asyncio.create_task(running.solve(SINGLE))
        await running.provider.arrived(1)
        second = asyncio.create_task(running.solve(SINGLE))
        await _waiting(running, 1)
        refused = await running.solve(SINGLE)
        assert refused.status_code == 429
        assert refused.json()["code"] == "rate-limited"
        assert refused.json()["retryable"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert len(await running.solves()) == 1
        gate.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]
        assert len(await running.solves()) == 2


async def test_client_that_leaves_the_queue_costs_nothing(sqlite_url: str) -> None:
    """No solve, no hold, no call; its place is free."""
    gate = asyncio.Event()
    async with fathom(sqlite_url, held(gate, reply("391")), solves_max=1, queue_max=1) as running:
        first = asyncio.create_task(running.solve(SINGLE))
        await running.provider.arrived(1)
        second = asyncio.create_task(running.solve(SINGLE))
        await _waiting(running, 1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await _waiting(running, 0)
        third = asyncio.create_task(running.solve(SINGLE))
        await _waiting(running, 1)
        gate.set()
        assert [(await task).status_code for task in (first, third)] == [200, 200]
        assert len(await running.solves()) == len(running.provider.requests) == 2
        assert (await running.budgets())[0].reserved == NanoUSD(0)


async def test_one_tenants_crowd_does_not_keep_another_out(sqlite_url: str) -> None:
    """The last to come, of a tenant that asks once, is among the first to be answered."""
    gate = asyncio.Event()
    async with fathom(sqlite_url, held(gate, reply("391")), solves_max=1) as running:
        crowd = [asyncio.create_task(running.solve(SINGLE)) for _ in range(8)]
        await _waiting(running, 7)
        other = await open_account(running.gateway)
        async with served(running.gateway, other.key) as (_, client):
            one = asyncio.create_task(client.post("/v1/solve", json=SINGLE | {"input": "alone"}))
            await _waiting(running, 8)
            gate.set()
            assert (await one).status_code == 200
        await asyncio.gather(*crowd)
        problems = [request.problem for request in running.provider.requests]
        assert problems.index("alone") <= 2
