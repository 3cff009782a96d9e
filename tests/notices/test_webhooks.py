"""A solve's end is told to the webhook that its request named: signed, once, and without a text."""

import asyncio
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from app.accounts import Allowance, open_tenant
from app.alerts import make_webhook_secret
from app.data.game24 import puzzles
from app.db.engine import Database, WriteTx
from app.ids import TenantId
from app.ledger.endings import Ending
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.periods import Period
from app.ledger.refusals import ClaimLost
from app.money import from_usd
from app.notices.keyring import add_secret
from app.notices.notice import Channel, Notice
from app.notices.tables import OutboxRow
from app.providers.completion import ProviderRefused
from app.providers.scripted import Answer, Script, held, reply
from app.settings import BadConfiguration, Settings
from app.wiring import allowed_origins, make_mailer
from tests.backends import account, opened
from tests.dispatch.batching import line, send
from tests.gateway import Fathom, Json, exact, fathom, unexpected
from tests.ledger.books import ending, opening
from tests.notices.receiving import Receiver, is_signed, receiver
from tests.notices.test_outbox import pass_time, states
from tests.solve.detached import begin
from tests.solve.serving import gateway_process, kill_9, slow_config

SECRET_TEXT = "What nobody else may read: 391"
REFUSED = ProviderRefused("cannot parse the question", may_have_worked=False)


async def signing(running: Fathom) -> str:
    """A secret of the gateway's tenant."""

    async def work(tx: WriteTx) -> str:
        return await add_secret(tx, running.account.tenant_id)

    return await running.gateway.database.write(work)


async def waiting(database: Database) -> int:
    """How many notices there are."""
    async with database.read() as tx:
        return int(await tx.scalar(select(func.count()).select_from(OutboxRow)) or 0)


def told(there: Receiver, *events: str) -> Json:
    """The webhook of a body."""
    return {"webhook": {"url": there.url()} | ({"events": list(events)} if events else {})}


async def test_a_background_solve_tells_that_it_has_completed(database_url: str) -> None:
    """What it says is what can be read at its link, and none of it is a text."""
    async with (
        receiver() as there,
        fathom(database_url, reply(SECRET_TEXT), webhooks_allow=there.origin) as running,
    ):
        secret = await signing(running)
        body = told(there) | {"input": SECRET_TEXT, "metadata": {"who": SECRET_TEXT}}
        accepted = await begin(running.client, body)
        assert accepted.status_code == 202, accepted.text
        (got,) = await there.have_come(1)
        assert is_signed(secret, got.headers, got.body)
        solve = (await running.client.get(got.document["data"]["links"]["self"])).json()
        assert got.document["type"] == "solve.completed"
        data = got.document["data"]
        assert data["id"] == solve["id"] == accepted.json()["id"]
        assert data["status"] == solve["status"] == "completed"
        assert data["cost"]["total_usd"] == solve["cost"]["total_usd"]
        assert data["route"] == solve["decision"]["route"]
        assert b"nobody else" not in got.body
        assert got.headers["webhook-id"] == "msg_" + solve["id"].removeprefix("slv_")


ENDS: list[tuple[Answer | Script, Json, str]] = [
    (reply("391"), {}, "solve.completed"),
    (reply("391"), {"store": False}, "solve.completed"),
    (REFUSED, {}, "solve.failed"),
]


@pytest.mark.parametrize(("script", "body", "event"), ENDS)
async def test_a_solve_that_somebody_waits_for_tells_it_too(
    sqlite_url: str, script: Answer | Script, body: Json, event: str
) -> None:
    """However it ended, and whether or not its texts are kept."""
    async with (
        receiver() as there,
        fathom(sqlite_url, script, webhooks_allow=there.origin) as running,
    ):
        await signing(running)
        await running.solve({"mode": "single"} | body | told(there))
        (got,) = await there.have_come(1)
        assert got.document["type"] == event
        assert (got.document["data"]["error"] is None) is (event == "solve.completed")


async def test_a_solve_that_is_cancelled_tells_that(sqlite_url: str) -> None:
    """Whoever cancelled it."""
    async with (
        receiver() as there,
        fathom(
            sqlite_url, held(asyncio.Event(), reply("8")), webhooks_allow=there.origin
        ) as running,
    ):
        await signing(running)
        accepted = await begin(running.client, told(there, "solve.cancelled"))
        await running.provider.arrived(1)
        await running.client.post(f"{accepted.headers['location']}/cancel")
        (got,) = await there.have_come(1)
        assert got.document["type"] == "solve.cancelled"


async def test_only_the_ends_that_were_asked_for_are_told(sqlite_url: str) -> None:
    """And a request that names no webhook is told nowhere."""
    async with (
        receiver() as there,
        fathom(sqlite_url, reply("391"), webhooks_allow=there.origin) as running,
    ):
        await signing(running)
        await running.solved(told(there, "solve.failed", "solve.cancelled"))
        await running.solved()
        assert await waiting(running.gateway.database) == 0


REFUSALS: list[tuple[Json, str]] = [
    ({"url": "https://127.0.0.1/"}, "webhook.url"),
    ({"url": "https://[::ffff:10.0.0.1]/"}, "webhook.url"),
    ({"url": "https://0x7f000001/"}, "webhook.url"),
    ({"url": "http://hooks.example.com/"}, "webhook.url"),
    ({"url": "https://hooks.example.com:8080/"}, "webhook.url"),
    ({"url": "https://hooks.example.com/", "events": []}, "webhook.events"),
    ({"url": "https://hooks.example.com/", "events": ["solve.started"]}, "webhook.events.0"),
    ({"url": "https://hooks.example.com/", "secret": "mine"}, "webhook.secret"),
    ({"events": ["solve.failed"]}, "webhook.url"),
]


@pytest.mark.parametrize(("webhook", "field"), REFUSALS)
async def test_a_webhook_that_cannot_be_is_refused_before_anything_is_spent(
    sqlite_url: str, webhook: Json, field: str
) -> None:
    """By the name of what to change."""
    async with fathom(sqlite_url, unexpected) as running:
        await signing(running)
        refused = await running.solve({"webhook": webhook})
        assert refused.status_code == 422
        assert [fault["field"] for fault in refused.json()["errors"]] == [field]
        assert await running.solves() == []


async def test_a_tenant_without_a_secret_is_told_whom_to_ask(sqlite_url: str) -> None:
    """What nobody could check is not sent."""
    async with fathom(sqlite_url, unexpected) as running:
        refused = await running.solve({"webhook": {"url": "https://hooks.example.com/"}})
        assert refused.status_code == 422
        assert "operator" in refused.json()["detail"]


async def test_line_of_a_batch_is_refused_a_webhook_that_cannot_be(sqlite_url: str) -> None:
    """Before anything is kept: inside, or without a secret that could sign it."""
    async with fathom(sqlite_url, unexpected) as running:
        for url in ("https://10.0.0.1/hook", "https://hooks.example.com/fathom"):
            refused = await send(running.client, [line("q1"), line("q2", webhook={"url": url})])
            assert (refused.status_code, refused.json()["code"]) == (422, "validation"), url
        assert (await running.client.get("/v1/batches")).json()["data"] == []


async def test_resumed_solve_and_replay_tell_nobody_unless_asked(sqlite_url: str) -> None:
    """Who waits for the first end is not told of others; a resumed one names its own webhook."""
    search = {"mode": "search", "search": {"max_nodes": 2, "concurrency": 1}} | exact("391")
    async with (
        receiver() as there,
        fathom(sqlite_url, reply("7"), webhooks_allow=there.origin) as running,
    ):
        await signing(running)
        solve = await running.solved(search | told(there))
        again = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.status_code == 200
        path, more = f"{solve['links']['self']}/resume", {"search": {"max_nodes": 3}}
        silent = await running.client.post(path, json={"budget": {}} | more)
        assert silent.status_code == 200
        assert await waiting(running.gateway.database) == 1
        inside = {"budget": {}, "webhook": {"url": "https://10.0.0.1/hook"}} | more
        assert (await running.client.post(path, json=inside)).status_code == 422
        body: Json = {"budget": {}} | more | told(there)
        heard = await running.client.post(path, json=body)
        assert heard.status_code == 200
        assert await waiting(running.gateway.database) == 2


async def test_who_may_not_end_a_solve_tells_nothing(database: Database) -> None:
    """The notice is of the end, so it goes with the one end that counts, and once."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 100))
    notice = Notice(
        "msg_1",
        TenantId(claim.account.tenant_id),
        Channel.WEBHOOK,
        "https://hooks.example.com/",
        "solve.completed",
        "{}",
    )
    usual = ending()
    telling = Ending(usual.state, usual.route, usual.result, usual.texts, notices=(notice,))
    with pytest.raises(ClaimLost):
        await ledger.finish(Claim(claim.solve_id, claim.account, token=7), telling)
    assert await waiting(database) == 0
    await ledger.finish(claim, telling)
    await ledger.finish(claim, telling)
    assert await states(database) == {"msg_1": ("pending", 0)}


async def test_a_process_killed_before_it_knew_leaves_the_notice_to_the_next(
    database_url: str, redis_url: str | None, tmp_path: Path
) -> None:
    """The receiver has it, the outbox does not know: it comes again, under the same id."""
    config, puzzle = slow_config(tmp_path, latency_s=0), puzzles()[5]
    tree_store = None if database_url.startswith("sqlite") else redis_url
    async with opened(database_url) as database, receiver(None) as there:
        allowance = Allowance(limit=from_usd("5"), period=Period.TOTAL)
        made = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        secret = await make_webhook_secret(database, tenant="acme")
        serve = partial(
            gateway_process,
            config,
            database_url=database_url,
            redis_url=tree_store,
            FATHOM_WEBHOOKS_ALLOW=there.origin,
        )
        async with (
            serve() as (process, address),
            httpx.AsyncClient(
                base_url=address, headers={"Authorization": f"Bearer {made.key}"}, timeout=30
            ) as client,
        ):
            body = {"input": puzzle.problem, "mode": "single"} | told(there)
            assert (await client.post("/v1/solve", json=body)).status_code == 200
            (first,) = await there.have_come(1)
            kill_9(process)
        await pass_time(database)
        async with serve():
            _, again = await there.have_come(2)
            async with asyncio.timeout(20):
                done = [("delivered", 2)]
                while [*(await states(database)).values()] != done:  # noqa: ASYNC110 - a process's
                    await asyncio.sleep(0.05)
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    assert is_signed(secret, again.headers, again.body)


@pytest.mark.parametrize("allowed", ["10.1.2.3", "http://a b:1", "ftp://a.b"])
def test_an_origin_that_is_none_is_refused_at_start(allowed: str) -> None:
    """By the setting's name."""
    with pytest.raises(BadConfiguration, match="FATHOM_WEBHOOKS_ALLOW"):
        allowed_origins(Settings(webhooks_allow=allowed))


def test_a_mail_server_that_is_none_is_refused_at_start() -> None:
    """Without its password."""
    with pytest.raises(BadConfiguration, match="FATHOM_SMTP_URL") as refused:
        make_mailer(Settings(smtp_url="smtp://fathom:hush@mail.example:port"))
    assert "hush" not in str(refused.value)
