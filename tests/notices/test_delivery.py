"""Delivery: at least once, whatever the receiver or the process does."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from app.db.engine import Database
from app.ids import TenantId
from app.notices.delivery import Delivery
from app.notices.keyring import add_secret
from app.notices.mail import Mailer, mail_server
from app.notices.notice import ATTEMPTS_MAX, Channel, Notice, notice_id
from app.notices.outbox import Outbox
from app.notices.poster import Poster
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Drain
from tests.notices.mailbox import mailbox
from tests.notices.receiving import Receiver, is_signed, receiver
from tests.notices.test_outbox import keep, pass_time, states
from tests.telemetry.results import metrics, series

ACME = TenantId("tnt_acme")
WAIT_S = 20.0


def notice(there: Receiver, *, tenant: TenantId = ACME, path: str = "/hook") -> Notice:
    """One to the receiver."""
    return Notice(
        id=notice_id(),
        tenant_id=tenant,
        channel=Channel.WEBHOOK,
        destination=there.url(path),
        event="solve.completed",
        body='{"type":"solve.completed"}',
    )


@asynccontextmanager
async def delivering(
    database: Database,
    *allowed: str,
    timeout_s: float = 5.0,
    drain: Drain | None = None,
    counted: Metrics | None = None,
    mailer: Mailer | None = None,
) -> AsyncGenerator[Metrics]:
    """A process that delivers while the block runs."""
    counted = metrics() if counted is None else counted
    poster = Poster(allowed=allowed, timeout_s=timeout_s)
    delivery = Delivery(
        database=database,
        outbox=Outbox(database),
        poster=poster,
        mailer=Mailer(None) if mailer is None else mailer,
        metrics=counted,
        drain=Drain() if drain is None else drain,
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(delivery.run(stop))
        try:
            yield counted
        finally:
            stop.set()
    await poster.aclose()


async def until(database: Database, wanted: dict[str, tuple[str, int]]) -> None:
    """Wait until the outbox is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while await states(database) != wanted:  # noqa: ASYNC110 - a database has no event
            await asyncio.sleep(0.02)


async def until_counted(counted: Metrics, outcome: str, count: int) -> None:
    """Wait until so many attempts to reach a webhook ended like this."""
    name = f'fathom_notices_total{{channel="webhook",outcome="{outcome}"}}'
    async with asyncio.timeout(WAIT_S):
        while series(counted)[name] < count:  # noqa: ASYNC110 - metrics have no event
            await asyncio.sleep(0.02)


async def test_a_notice_arrives_signed_by_both_secrets(database: Database) -> None:
    """And is marked and counted as delivered."""
    old = await database.write(lambda tx: add_secret(tx, ACME))
    new = await database.write(lambda tx: add_secret(tx, ACME))
    async with receiver() as there:
        sent = notice(there)
        await keep(database, sent)
        async with delivering(database, there.origin) as counted:
            (got,) = await there.have_come(1)
            await until(database, {sent.id: ("delivered", 1)})
        assert got.body.decode() == sent.body
        assert got.headers["webhook-id"] == sent.id
        assert is_signed(old, got.headers, got.body)
        assert is_signed(new, got.headers, got.body)
        name = 'fathom_notices_total{channel="webhook",outcome="delivered"}'
        assert series(counted)[name] == 1


async def test_a_receiver_that_fails_gets_it_again_under_the_same_id(database: Database) -> None:
    """A failure, a redirect, silence, and then success."""
    await database.write(lambda tx: add_secret(tx, ACME))
    async with receiver(500, 302, None) as there:
        sent = notice(there)
        await keep(database, sent)
        async with delivering(database, there.origin, timeout_s=0.5) as counted:
            for attempt in range(1, 4):
                await there.have_come(attempt)
                await until_counted(counted, "failed", attempt)
                assert await states(database) == {sent.id: ("pending", attempt)}
                await pass_time(database)
            await there.have_come(4)
            await until(database, {sent.id: ("delivered", 4)})
        assert {got.headers["webhook-id"] for got in there.received} == {sent.id}
        assert {got.path for got in there.received} == {"/hook"}


async def test_what_was_sent_but_not_marked_is_sent_again(database: Database) -> None:
    """A process dies in between: the next one sends the same notice, and its receiver can tell."""
    secret = await database.write(lambda tx: add_secret(tx, ACME))
    async with receiver() as there:
        sent = notice(there)
        await keep(database, sent)
        # The first process: it claims and posts, and is never heard of again.
        dead = Outbox(database)
        await dead.claim(most=1)
        poster = Poster(allowed=[there.origin])
        await poster.post(sent.destination, b"{}", {"webhook-id": sent.id}, trusted=False)
        await poster.aclose()
        await pass_time(database)
        async with delivering(database, there.origin):
            first, second = await there.have_come(2)
            await until(database, {sent.id: ("delivered", 2)})
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == sent.id
        assert is_signed(secret, second.headers, second.body)


async def test_a_receiver_that_never_answers_keeps_nobody_else_waiting(database: Database) -> None:
    """Its own notices wait for it."""
    await database.write(lambda tx: add_secret(tx, ACME))
    other = TenantId("tnt_other")
    await database.write(lambda tx: add_secret(tx, other))
    async with receiver(*[None] * 8) as silent, receiver() as there:
        await keep(database, *(notice(silent) for _ in range(8)))
        await keep(database, *(notice(there, tenant=other) for _ in range(20)))
        async with delivering(database, silent.origin, there.origin, timeout_s=3.0):
            async with asyncio.timeout(2.5):
                await there.have_come(20)
            assert len(silent.received) <= 8


async def test_the_last_failure_ends_it_and_is_told(database: Database) -> None:
    """In the log and in the metrics, by ids and never by the URL, which may hold a secret."""
    await database.write(lambda tx: add_secret(tx, ACME))
    async with receiver(*[500] * ATTEMPTS_MAX) as there:
        sent = notice(there, path="/secret-token")
        await keep(database, sent)
        outbox = Outbox(database)
        for _ in range(ATTEMPTS_MAX - 1):
            await outbox.claim(most=1)
            await pass_time(database)
        with capture_logs() as logged:
            async with delivering(database, there.origin) as counted:
                await until(database, {sent.id: ("dead", ATTEMPTS_MAX)})
        (told,) = [line for line in logged if line["event"] == "notice_dead"]
        assert (told["notice_id"], told["reason"]) == (sent.id, "status 500")
        assert "secret-token" not in str(logged)
        assert series(counted)['fathom_notices_total{channel="webhook",outcome="dead"}'] == 1


async def test_what_cannot_be_signed_is_not_sent(database: Database) -> None:
    """It waits for the secret."""
    async with receiver() as there:
        sent = notice(there)
        await keep(database, sent)
        async with delivering(database, there.origin) as counted:
            await until_counted(counted, "failed", 1)
            await database.write(lambda tx: add_secret(tx, ACME))
            await pass_time(database)
            await there.have_come(1)


async def test_slack_and_mail_have_forms_of_their_own(database: Database) -> None:
    """Neither is signed: Slack knows the URL, and mail has no place for it."""
    async with receiver() as there, mailbox() as post:
        text = json.dumps({"text": "80 % spent"})
        mail = json.dumps({"subject": "acme", "text": "80 % spent"})
        to_slack = Notice(
            notice_id(), ACME, Channel.SLACK, there.url(), "budget.alert", text, trusted=True
        )
        to_mail = Notice(
            notice_id(), ACME, Channel.EMAIL, "cfo@acme.example", "budget.alert", mail, trusted=True
        )
        await keep(database, to_slack, to_mail)
        server = mail_server(f"smtp://127.0.0.1:{post.port}", sender="fathom@gateway.example")
        async with delivering(database, mailer=Mailer(server)):
            (got,) = await there.have_come(1)
            async with asyncio.timeout(WAIT_S):
                await post.arrived.wait()
            done = ("delivered", 1)
            await until(database, {to_slack.id: done, to_mail.id: done})
        assert got.document == {"text": "80 % spent"}
        assert "webhook-signature" not in got.headers
        assert post.messages[0]["Message-ID"] == f"<{to_mail.id}@gateway.example>"


async def test_a_draining_process_delivers_nothing_more(database: Database) -> None:
    """Another will."""
    await database.write(lambda tx: add_secret(tx, ACME))
    async with receiver() as there:
        sent = notice(there)
        await keep(database, sent)
        async with delivering(database, there.origin, drain=Drain(begun=True)):
            await asyncio.sleep(0.3)
        assert await states(database) == {sent.id: ("pending", 0)}
        async with delivering(database, there.origin):
            await there.have_come(1)
