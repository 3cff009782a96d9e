"""The outbox: nothing is lost, nothing is taken twice at once, nobody keeps the others waiting."""

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.db.clock import Ago
from app.db.engine import Database, WriteTx
from app.ids import TenantId
from app.notices.notice import ATTEMPTS_MAX, Channel, Notice, notice_id, wait_s
from app.notices.outbox import TENANT_CLAIMS_MAX, Outbox, counts, put
from app.notices.tables import OutboxRow
from tests.backends import opened

DAY_S = 86_400.0


def notice(tenant: str = "tnt_acme") -> Notice:
    """One to a webhook."""
    return Notice(
        id=notice_id(),
        tenant_id=TenantId(tenant),
        channel=Channel.WEBHOOK,
        destination="https://hooks.example/fathom",
        event="solve.completed",
        body='{"type":"solve.completed"}',
    )


async def keep(database: Database, *notices: Notice) -> None:
    """Put them into the outbox."""

    async def work(tx: WriteTx) -> None:
        await put(tx, notices)

    await database.write(work)


async def pass_time(database: Database) -> None:
    """Let every wait and every lease be over."""

    async def work(tx: WriteTx) -> None:
        await tx.execute(update(OutboxRow).values(due_at=Ago(1.0)))

    await database.write(work)


async def states(database: Database) -> dict[str, tuple[str, int]]:
    """State and attempts, by id."""
    query = select(OutboxRow.id, OutboxRow.state, OutboxRow.attempts)
    async with database.read() as tx:
        return {row[0]: (row[1], row[2]) for row in (await tx.execute(query)).all()}


async def test_a_notice_is_claimed_as_it_was_put(database: Database) -> None:
    """To the byte, and counted as the first attempt."""
    sent = notice()
    await keep(database, sent)
    await keep(database, sent)  # the same id again is the same notice
    (claimed,) = await Outbox(database).claim(most=10)
    assert claimed.notice == sent
    assert claimed.attempt == 1


async def test_nothing_is_put_by_a_transaction_that_fails(database: Database) -> None:
    """The notice and the fact are one."""

    async def work(tx: WriteTx) -> None:
        await put(tx, [notice()])
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert await Outbox(database).claim(most=10) == ()


async def test_two_replicas_never_hold_one_notice_at_once(database_url: str) -> None:
    """However they race."""
    async with opened(database_url) as one, opened(database_url) as other:
        sent = [notice(f"tnt_{number}") for number in range(40)]
        await keep(one, *sent)
        outboxes = [Outbox(one), Outbox(other)] * 5
        claims = await asyncio.gather(*(outbox.claim(most=8) for outbox in outboxes))
        rest = await Outbox(one).claim(most=100)
        ids = [claimed.notice.id for claim in [*claims, rest] for claimed in claim]
        assert sorted(ids) == sorted(made.id for made in sent)


async def test_a_claim_that_nobody_answers_for_is_made_again(database: Database) -> None:
    """A lease is over: the same notice, under the same id, once more."""
    sent = notice()
    await keep(database, sent)
    outbox = Outbox(database)
    await outbox.claim(most=1)
    assert await outbox.claim(most=1) == ()
    await pass_time(database)
    (again,) = await outbox.claim(most=1)
    assert again.notice == sent
    assert again.attempt == 2


async def test_a_late_failure_changes_nothing_for_the_next_claim(database: Database) -> None:
    """A replica that froze beyond its lease decides no more; what it delivered, it delivered."""
    await keep(database, notice())
    outbox = Outbox(database)
    (frozen,) = await outbox.claim(most=1)
    await pass_time(database)
    (current,) = await outbox.claim(most=1)
    assert not await outbox.failed(frozen, "timeout", retry_s=None)
    assert await outbox.delivered(frozen.notice.id)
    assert not await outbox.delivered(current.notice.id)
    assert not await outbox.failed(current, "timeout", retry_s=1.0)
    await pass_time(database)
    assert await outbox.claim(most=1) == ()


async def test_a_notice_that_fails_waits_and_at_last_is_dead(database: Database) -> None:
    """It is counted as such, and never claimed again."""
    await keep(database, notice(), notice("tnt_other"))
    outbox = Outbox(database)
    first, second = await outbox.claim(most=2)
    assert await outbox.failed(first, "status 500", retry_s=DAY_S)
    assert await outbox.failed(second, "x" * 500, retry_s=None)
    assert await outbox.claim(most=2) == ()
    async with database.read() as tx:
        assert await counts(tx) == {"pending": 1, "dead": 1}
    await pass_time(database)
    (again,) = await outbox.claim(most=2)
    assert again.notice.id == first.notice.id


async def test_one_tenants_crowd_leaves_room_for_others(database: Database) -> None:
    """A dead endpoint with a thousand notices does not keep another tenant's waiting."""
    await keep(database, *(notice("tnt_crowd") for _ in range(300)))
    last = notice("tnt_last")
    await keep(database, last)
    outbox = Outbox(database)
    crowd = await outbox.claim(most=16)
    assert len(crowd) == TENANT_CLAIMS_MAX
    (other,) = await outbox.claim(most=16, but_not=[TenantId("tnt_crowd")])
    assert other.notice == last


async def test_what_is_over_is_deleted_in_its_time(database: Database) -> None:
    """And what is pending never."""
    await keep(database, notice("tnt_1"), notice("tnt_2"), notice("tnt_3"))
    outbox = Outbox(database)
    first, second, third = await outbox.claim(most=3)
    await outbox.delivered(first.notice.id)
    await outbox.failed(second, "gone", retry_s=None)
    assert await outbox.clear(most=10) == 0
    await pass_time(database)
    assert await outbox.clear(most=1) == 1
    assert await outbox.clear(most=10) == 1
    assert await states(database) == {third.notice.id: ("pending", 1)}


@given(st.integers(0, 2**32))
def test_waits_grow_and_end_after_about_a_day(seed: int) -> None:
    """Whatever the jitter."""
    rng = Random(seed)
    waits = [wait_s(attempts, rng) for attempts in range(1, ATTEMPTS_MAX)]
    assert wait_s(ATTEMPTS_MAX, rng) is None
    total = sum(wait for wait in waits if wait is not None)
    assert None not in waits
    assert 0.7 * DAY_S < total < 1.5 * DAY_S
    assert all(wait is not None and 3.0 < wait < 8 * 3600 for wait in waits)
