"""Solves that wait in DBOS's queue: put there with their money, run once, whatever a workflow does.

What holds for either dispatcher is in tests/solve/test_background.py.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.db.engine import WriteTx
from app.ids import SolveId
from app.ledger.openings import Queue
from app.ledger.queued import Queued
from app.ledger.refusals import BudgetExceeded, ClaimLost
from app.ledger.tables import Solve
from app.money import NanoUSD
from app.providers.scripted import ScriptedProvider, reply
from app.settings import BadConfiguration
from app.solve.request import Limits, Mode, SolveRequest, Turn
from app.tenants.directory import Tenant
from app.wiring import Gateway
from tests.backends import REAL, Backends, empty_database
from tests.gateway import assert_balanced, open_account, unexpected
from tests.solve.detached import ENDED_S, replica

pytest.importorskip("dbos")

from app.dispatch.workflows import SCHEMA, WAITING, Workflows, libpq_url

ASKED = SolveRequest(
    turns=(Turn("user", "What is 17 * 23?"),), seed=1, mode=Mode.SINGLE, background=True
)


@pytest.fixture
async def url(backends: Backends, tmp_path: Path) -> str:
    """An empty PostgreSQL database, in which DBOS has its tables."""
    made = await empty_database(REAL, backends, tmp_path)
    async with replica(made, unexpected, dispatch="dbos") as (gateway, _):
        await _execute(gateway, f"DELETE FROM {SCHEMA}.workflow_status")  # noqa: S608
    return made


@asynccontextmanager
async def busy(url: str) -> AsyncGenerator[tuple[Gateway, Tenant]]:
    """A gateway beside the queue, which is served by one that has no room to run anything."""
    async with replica(url, unexpected) as (gateway, _):
        await Queued(gateway.database, queue=WAITING.name, replica="busy", lease_s=60).beat()
        account = await open_account(gateway)
        yield gateway, await gateway.services.directory.authenticate(account.key)


async def _put(gateway: Gateway, tenant: Tenant, queue: Queue = WAITING) -> SolveId:
    run = await gateway.services.solver.admit(tenant, ASKED, queue=queue)
    return run.claim.solve_id


async def _execute(gateway: Gateway, statement: str, **facts: str) -> None:
    async def work(tx: WriteTx) -> None:
        await tx.execute(text(statement), facts)

    await gateway.database.write(work)


async def _ended(gateway: Gateway, solve_id: SolveId) -> str:
    query = select(Solve.state).where(Solve.id == solve_id, Solve.completed_at.is_not(None))
    async with asyncio.timeout(ENDED_S):
        while True:
            async with gateway.database.read() as tx:
                state = await tx.scalar(query)
            if state is not None:
                return state
            await asyncio.sleep(0.02)


async def _status(gateway: Gateway, solve_id: SolveId) -> str | None:
    query = text(f"SELECT status FROM {SCHEMA}.workflow_status WHERE workflow_uuid = :id")  # noqa: S608
    async with gateway.database.read() as tx:
        found: str | None = await tx.scalar(query, {"id": solve_id})
    return found


async def _until(gateway: Gateway, solve_id: SolveId, status: str) -> None:
    async with asyncio.timeout(ENDED_S):
        while await _status(gateway, solve_id) != status:  # noqa: ASYNC110 - DBOS's own work
            await asyncio.sleep(0.02)


async def _finished_once(gateway: Gateway, provider: ScriptedProvider, solve_id: SolveId) -> None:
    assert await _ended(gateway, solve_id) == "completed"
    assert len(provider.requests) == 1
    await assert_balanced(gateway)


async def test_any_replica_runs_what_another_has_accepted(url: str) -> None:
    """In the name of the one that accepted it nothing is run, nor lost when that is gone."""
    async with busy(url) as (first, tenant):
        waits = await _put(first, tenant)
        assert await _status(first, waits) == "ENQUEUED"
    async with replica(url, reply("391"), dispatch="dbos") as (second, provider):
        await _finished_once(second, provider, waits)
        await _until(second, waits, "SUCCESS")


async def test_workflow_that_is_over_is_deleted_some_day(url: str) -> None:
    """Not before, and never one that is still to be run."""
    async with busy(url) as (first, tenant):
        done = await _put(first, tenant)
    workflows = Workflows(url)
    async with replica(url, reply("391"), dispatch="dbos") as (second, provider):
        await _finished_once(second, provider, done)
        await _until(second, done, "SUCCESS")
    async with busy(url) as (first, tenant):
        waits = await _put(first, tenant)
        await workflows.forget(older_s=3_600.0)
        assert await _status(first, done) == "SUCCESS"
        await workflows.forget(older_s=0.0)
        assert (await _status(first, done), await _status(first, waits)) == (None, "ENQUEUED")
    workflows.close()
    async with replica(url, reply("391"), dispatch="dbos") as (second, _):
        assert await _ended(second, waits) == "completed"


async def test_refused_solve_is_not_in_the_queue(url: str) -> None:
    """Nor is money held for one that could not be put there: both, or neither."""

    async def broken(tx: WriteTx, _solve_ids: object) -> None:
        await tx.execute(text("SELECT no_such_function()"))

    poor = replace(ASKED, limits=Limits(max_cost=NanoUSD(1)))
    async with busy(url) as (gateway, tenant):
        with pytest.raises(BudgetExceeded):
            await gateway.services.solver.admit(tenant, poor, queue=WAITING)
        with pytest.raises(DBAPIError):
            await _put(gateway, tenant, Queue(WAITING.name, broken))
        await assert_balanced(gateway)
        async with gateway.database.read() as tx:
            assert await tx.scalar(select(func.count(Solve.id))) == 0
            assert await tx.scalar(text(f"SELECT count(*) FROM {SCHEMA}.workflow_status")) == 0  # noqa: S608


async def test_one_of_many_takers_succeeds(url: str) -> None:
    """Whoever comes later is told so, also once the solve has ended."""
    async with busy(url) as (gateway, tenant):
        waits = await _put(gateway, tenant)
        takers = [
            Queued(gateway.database, queue=WAITING.name, replica=f"replica-{n}", lease_s=60)
            for n in range(8)
        ]
        claims = await asyncio.gather(
            *(taker.take(waits) for taker in takers), return_exceptions=True
        )
        assert [claim for claim in claims if isinstance(claim, ClaimLost)] == [
            claim for claim in claims if isinstance(claim, BaseException)
        ]
        assert len([claim for claim in claims if not isinstance(claim, BaseException)]) == 1
        assert await takers[0].waiting() == []
        await _execute(gateway, "UPDATE solve SET owner = 'dead'")
    async with replica(url, reply("391")) as (second, _):
        assert await _ended(second, waits) == "completed"


async def test_workflow_run_again_changes_nothing(url: str) -> None:
    """Its solve has ended: it returns at once."""
    async with busy(url) as (first, tenant):
        waits = await _put(first, tenant)
    async with replica(url, reply("391"), dispatch="dbos") as (second, provider):
        await _finished_once(second, provider, waits)
        await _until(second, waits, "SUCCESS")
        again = f"UPDATE {SCHEMA}.workflow_status SET status = 'ENQUEUED', completed_at = NULL"  # noqa: S608
        await _execute(second, again)
        await _until(second, waits, "SUCCESS")
        await _finished_once(second, provider, waits)


async def test_workflow_of_a_dead_executor_is_run_by_another(url: str) -> None:
    """It had the workflow, and died before it took the solve."""
    async with busy(url) as (first, tenant):
        waits = await _put(first, tenant)
        begun = f"UPDATE {SCHEMA}.workflow_status SET status = 'PENDING', executor_id = 'dead'"  # noqa: S608
        await _execute(first, begun)
    async with replica(url, reply("391"), dispatch="dbos") as (second, provider):
        await _finished_once(second, provider, waits)
        await _until(second, waits, "SUCCESS")


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param("DELETE FROM {schema}.workflow_status", id="deleted"),
        pytest.param("UPDATE {schema}.workflow_status SET status = 'CANCELLED'", id="cancelled"),
    ],
)
async def test_solve_without_a_workflow_is_run(url: str, lost: str) -> None:
    """What an operator does to DBOS's tables leaves no money held for ever."""
    async with busy(url) as (first, tenant):
        waits = await _put(first, tenant)
        await _execute(first, lost.format(schema=SCHEMA))
    async with replica(url, reply("391"), dispatch="dbos") as (second, provider):
        await _finished_once(second, provider, waits)


async def test_queue_that_nobody_serves_is_anybodys(url: str) -> None:
    """An operator may go back to `inline`: what waits is claimed after a lease."""
    async with busy(url) as (first, tenant):
        waits = await _put(first, tenant)
    async with replica(url, reply("391")) as (second, provider):
        await _finished_once(second, provider, waits)


async def test_solve_cancelled_while_it_waits_makes_no_call(url: str) -> None:
    """Whoever takes it only settles it."""
    async with busy(url) as (first, tenant):
        waits = await _put(first, tenant)
        found = await first.services.cancelling.cancel(tenant, waits)
        assert found.solved is None
    async with replica(url, unexpected, dispatch="dbos") as (second, provider):
        assert await _ended(second, waits) == "cancelled"
        assert provider.requests == []
        await assert_balanced(second)


async def test_dbos_needs_postgresql_and_a_process_of_its_own(url: str, sqlite_url: str) -> None:
    """Refused at the start, and said what is missing."""
    with pytest.raises(BadConfiguration, match="needs PostgreSQL"):
        async with replica(sqlite_url, unexpected, dispatch="dbos"):
            pass
    async with replica(url, unexpected, dispatch="dbos"):
        with pytest.raises(BadConfiguration, match="one gateway"):
            async with replica(url, unexpected, dispatch="dbos"):
                pass


def test_libpq_is_told_the_same_as_asyncpg() -> None:
    """Password, host and port stay; encryption has another name there."""
    ours = "postgresql+asyncpg://me:s%40crit@db:5433/fathom?ssl=verify-full"
    theirs = "postgresql+psycopg://me:s%40crit@db:5433/fathom?sslmode=verify-full"
    assert libpq_url(ours) == theirs
