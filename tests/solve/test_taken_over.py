"""Solves that another replica takes over are its solves like any other: in turn, and handed on."""

import asyncio

from sqlalchemy import func, select

from app.db.engine import Database
from app.ledger.tables import Call, Solve
from app.providers.scripted import Script, held, reply
from tests.gateway import Json, assert_balanced, exact, open_account, served
from tests.solve.detached import ENDED_S, begin, ended, replica

SEARCH: Json = {"mode": "search", "search": {"concurrency": 1, "max_nodes": 3}} | exact("391")


def silent() -> Script:
    """Never answers."""
    return held(asyncio.Event(), reply("7"))


async def taken(database: Database, times: int) -> int:
    """How many solves have been taken so many times or more, their first owner's included."""
    query = select(func.count()).where(Solve.token >= times)
    async with database.read() as tx:
        return int(await tx.scalar(query) or 0)


async def until_taken(database: Database, count: int, *, times: int) -> None:
    """Wait for so many of them."""
    async with asyncio.timeout(ENDED_S):
        while await taken(database, times) < count:  # noqa: ASYNC110 - for a database
            await asyncio.sleep(0.02)


async def test_solves_that_are_taken_over_run_in_turn(database_url: str) -> None:
    """No more at a time than the process may have."""
    async with replica(database_url, held(asyncio.Event(), reply("7")), lease_s=0.2) as (
        first,
        provider,
    ):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            accepted = [await begin(client, SEARCH) for _ in range(3)]
            await provider.arrived(3)
    gate = asyncio.Event()
    async with replica(database_url, held(gate, reply("7")), lease_s=0.2, solves_max=1) as (
        second,
        provider,
    ):
        await until_taken(second.database, 3, times=2)
        await provider.arrived(1)
        gate.set()
        async with served(second, account.key) as (_, client):
            for one in accepted:
                assert (await ended(client, one.headers["Location"]))["search"]["nodes"] == 3
        assert provider.max_in_flight == 1
        await assert_balanced(second)


async def test_drain_hands_on_what_was_taken_over(database_url: str) -> None:
    """A call in flight is waited for there, too, and not made again."""
    async with replica(database_url, held(asyncio.Event(), reply("7")), lease_s=0.2) as (
        first,
        provider,
    ):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            accepted = await begin(client, SEARCH)
            await provider.arrived(1)
    gate = asyncio.Event()
    async with replica(database_url, held(gate, reply("7")), lease_s=0.5) as (second, provider):
        await until_taken(second.database, 1, times=2)
        await provider.arrived(1)
        asyncio.get_running_loop().call_later(0.1, gate.set)
    assert provider.cancelled == 0
    async with replica(database_url, reply("7"), lease_s=0.2) as (third, provider):
        async with served(third, account.key) as (_, client):
            assert (await ended(client, accepted.headers["Location"]))["search"]["nodes"] == 3
        assert len(provider.requests) == 2
        async with third.database.read() as tx:
            states = sorted((await tx.scalars(select(Call.state))).all())
        assert states == ["ok", "ok", "ok", "orphan"]
        await assert_balanced(third)
