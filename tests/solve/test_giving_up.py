"""A solve that nobody can go on with ends, whoever tries; one that only had bad luck goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from sqlalchemy import delete, func, select, update

from app.db.engine import Database, WriteTx
from app.ledger.failed_claims import FailedClaims
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.tables import FailedClaim, Payload, SolveInput
from app.notices.keyring import add_secret
from app.notices.tables import OutboxRow
from app.providers.scripted import Script, by_op, held, reply
from app.solve.giving_up import FAILURES_MAX
from tests.backends import account
from tests.dispatch.batching import line, output, over, sent
from tests.gateway import Json, assert_balanced, exact, open_account, served
from tests.ledger.books import answered, assert_books_hold, ending, intent, nano, opening
from tests.solve.detached import begin, ended, replica

WEBHOOK: Json = {"webhook": {"url": "https://hooks.example.com/"}}
SEARCH: Json = {"mode": "search", "search": {"concurrency": 1, "max_nodes": 3}} | exact("391")
LEASE_S = 0.2


async def lose_an_answer(tx: WriteTx) -> None:
    """A text that the journal says was paid for is not there."""
    await tx.execute(delete(Payload).where(Payload.name == "call:t1"))


async def store_it_unreadably(tx: WriteTx) -> None:
    """As a newer version may have."""
    stored = await tx.scalar(select(SolveInput.request))
    assert stored is not None
    await tx.execute(update(SolveInput).values(request=stored | {"mode": "prayer"}))


def stuck_at_second() -> Script:
    """One answer, and then none."""
    return by_op({"t1": reply("7"), "*": held(asyncio.Event(), reply("8"))})


async def until_answered(database: Database) -> None:
    """Wait for the first answer to be kept."""
    query = select(func.count()).select_from(Payload)
    async with asyncio.timeout(10):
        while True:
            async with database.glance() as tx:
                if await tx.scalar(query):
                    return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("harm", [lose_an_answer, store_it_unreadably])
async def test_solve_that_nobody_can_resume_ends_as_failed(
    database_url: str, harm: Callable[[WriteTx], Awaitable[None]]
) -> None:
    """After so many tries: what it spent is posted, the rest is free, its webhook hears of it."""
    async with replica(database_url, stuck_at_second(), lease_s=LEASE_S) as (first, provider):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            await first.database.write(partial(add_secret, tenant_id=account.tenant_id))
            accepted = await begin(client, SEARCH | WEBHOOK)
            assert accepted.status_code == 202, accepted.text
            await provider.arrived(2)
        await until_answered(first.database)
    async with replica(database_url, reply("391"), lease_s=LEASE_S) as (second, provider):
        await second.database.write(harm)
        async with served(second, account.key) as (_, client):
            solve = await ended(client, accepted.headers["Location"])
        assert (solve["status"], solve["error"]["kind"]) == ("failed", "GivenUp")
        assert str(FAILURES_MAX) in solve["error"]["message"]
        assert [call.op for call in provider.requests] == []
        async with second.database.read() as tx:
            claims = (await tx.execute(select(FailedClaim.answered))).all()
            told = (await tx.execute(select(OutboxRow.event))).scalars().all()
        assert [row[0] for row in claims] == [1] * FAILURES_MAX
        assert told == ["solve.failed"]
        assert float(solve["cost"]["total_usd"]) > 0
        await assert_balanced(second)


async def test_line_whose_solve_nobody_can_resume_ends(database_url: str) -> None:
    """And its batch after it."""
    async with replica(database_url, stuck_at_second(), lease_s=LEASE_S) as (first, provider):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            batch = await sent(client, [line("q0", **SEARCH)])
            await provider.arrived(2)
        await until_answered(first.database)
    async with replica(database_url, reply("391"), lease_s=LEASE_S) as (second, _):
        await second.database.write(lose_an_answer)
        async with served(second, account.key) as (_, client):
            found = await over(client, batch)
            assert found["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
            (told,) = await output(client, batch)
            assert told["error"] is not None or told["response"]["status_code"] == 500
        await assert_balanced(second)


async def claimed(database: Database) -> Claim:
    """The one solve that runs, taken over from whoever had it."""
    (claim,) = await Leases(database, replica="next", lease_s=0.0).claim(most=1, running=[])
    return claim


async def test_only_failures_without_an_answer_between_them_add_up(database: Database) -> None:
    """Claims that somebody was killed over are not counted, nor one twice."""
    ledger, claims = Ledger(database), FailedClaims(database)
    claim = await ledger.hold(opening(await account(database), 100))
    assert await claims.note(claim) == 1
    assert await claims.note(claim) == 1
    for _ in range(2 * FAILURES_MAX):
        claim = await claimed(database)
    assert await claims.note(claim) == 2
    claim = await claimed(database)
    made = intent(claim, max_cost=10)
    await ledger.intend(claim, made, grow=nano(0))
    await ledger.settle_call(claim, made, answered(4))
    assert await claims.note(claim) == 1
    await ledger.finish(claim, ending())
    await assert_books_hold(database)


async def test_failure_of_who_has_lost_the_solve_counts_for_nothing(database: Database) -> None:
    """Nor that of one that has ended."""
    ledger, claims = Ledger(database), FailedClaims(database)
    slow = await ledger.hold(opening(await account(database), 100))
    claim = await claimed(database)
    assert await claims.note(slow) == 0
    await ledger.finish(claim, ending())
    assert await claims.note(claim) == 0
    async with database.read() as tx:
        assert (await tx.execute(select(FailedClaim.token))).all() == []
