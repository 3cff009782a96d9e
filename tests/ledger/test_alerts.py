"""Soft thresholds: told once a period and destination, whoever looks, not on a request's way."""

import asyncio
import json
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import select, update

from app.accounts import Allowance, Scope, open_project, open_tenant, set_budget
from app.alerts import alert, make_webhook_secret
from app.db.clock import Ago
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ledger.alert_tables import Alert, AlertRule
from app.ledger.alerts import AT_ONCE_MAX, Alerts
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.periods import Period
from app.ledger.tables import Budget
from app.ledger.thresholds import Threshold
from app.notices.notice import Channel
from app.notices.tables import OutboxRow
from app.telemetry.readiness import Drain
from tests.backends import opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    call,
    end_earlier_period,
    ending,
    nano,
    open_earlier_period,
    opening,
)
from tests.ledger.test_raises import raise_that_ended

LIMIT = nano(1_000_000_000)
HOOK = "https://hooks.acme.example/budgets"
SLACK = Threshold(80, Channel.SLACK, "https://hooks.slack.example/services/T/B/x")


async def tenant(database: Database, *, period: Period = Period.DAY) -> Account:
    """Called acme, with a dollar a period."""
    allowance = Allowance(LIMIT, period, "Europe/Berlin")
    made = await open_tenant(database, name="acme", policy="default", allowance=allowance)
    return Account(made.tenant_id, made.key_id)


async def spend(database: Database, payer: Account, percent: int) -> None:
    """So much of a dollar."""
    ledger, cost = Ledger(database), LIMIT * percent // 100
    claim = await ledger.hold(opening(payer, cost, cap=LIMIT))
    await call(ledger, claim, answered(cost), max_cost=cost)
    await ledger.finish(claim, ending())


async def watch(
    database: Database,
    threshold: Threshold,
    *,
    scope: Scope = Scope.TENANT,
    name: str | None = None,
) -> None:
    """Alert on acme's budgets."""
    await alert(database, threshold, tenant="acme", scope=scope, name=name, period=None, off=False)


async def told(database: Database) -> list[tuple[str, str]]:
    """(destination, body) of what is in the outbox."""
    query = select(OutboxRow.destination, OutboxRow.body).order_by(OutboxRow.id)
    async with database.read() as tx:
        return [(row[0], row[1]) for row in (await tx.execute(query)).all()]


async def tell(database: Database) -> None:
    """Look once."""
    await Alerts(database=database, drain=Drain()).tell()


async def test_a_threshold_is_told_once_when_it_is_reached(database: Database) -> None:
    """Not before it; and not again, however much is spent and however often looked."""
    payer = await tenant(database)
    await watch(database, SLACK)
    await watch(database, SLACK)
    await spend(database, payer, 79)
    await tell(database)
    assert await told(database) == []
    await spend(database, payer, 1)
    for _ in range(3):
        await tell(database)
    await spend(database, payer, 5)
    await tell(database)
    ((destination, body),) = await told(database)
    assert destination == SLACK.destination
    text = json.loads(body)["text"]
    assert text.startswith("Fathom: acme has spent $0.80 of $1.00 (80 %) this day; its budget")
    assert text.endswith("00:00 Europe/Berlin.")
    await assert_books_hold(database)


async def test_replicas_that_look_at_once_tell_once(database_url: str) -> None:
    """The row is the guard, and the notice is written with it."""
    async with opened(database_url) as one, opened(database_url) as other:
        payer = await tenant(one)
        await watch(one, SLACK)
        await spend(one, payer, 90)
        await asyncio.gather(*(tell(each) for each in [one, other] * 5))
        assert len(await told(one)) == 1
        async with one.read() as tx:
            assert (await tx.execute(select(Alert.spent, Alert.lim))).all() == [
                (LIMIT * 90 // 100, LIMIT)
            ]


async def test_a_raise_that_has_ended_delays_no_alert(database: Database) -> None:
    """Though nobody has held since, so that the row's limit still counts on it."""
    payer = await tenant(database)
    await watch(database, SLACK)
    await spend(database, payer, 85)
    await raise_that_ended(database, payer, LIMIT)
    await tell(database)
    ((_, body),) = await told(database)
    assert " has spent $0.85 of $1.00 (85 %) " in json.loads(body)["text"]
    await assert_books_hold(database)


async def test_a_budget_of_nothing_is_told_of_to_nobody(database: Database) -> None:
    """There is no share of it."""
    payer = await tenant(database)
    await watch(database, SLACK)
    await Ledger(database).finish(await Ledger(database).hold(opening(payer, 0)), ending())
    nothing = Allowance(nano(0), Period.DAY, "Europe/Berlin")
    await set_budget(database, tenant="acme", scope=Scope.TENANT, name=None, allowance=nothing)
    await tell(database)
    assert await told(database) == []


async def test_a_new_period_is_told_anew(database: Database) -> None:
    """And the one that has just ended is not forgotten."""
    payer = await tenant(database)
    await watch(database, SLACK)
    await open_earlier_period(database, payer)
    await spend(database, payer, 90)
    await end_earlier_period(database)
    await tell(database)
    assert len(await told(database)) == 1
    await tell(database)
    await spend(database, payer, 85)
    await tell(database)
    _, (_, second) = await told(database)
    assert "$0.85" in second


async def test_a_period_that_ended_before_the_alert_or_long_ago_is_not_told(
    database: Database,
) -> None:
    """Nobody could do anything about it."""
    payer = await tenant(database)
    await open_earlier_period(database, payer)
    await spend(database, payer, 90)
    await end_earlier_period(database)
    await watch(database, SLACK)
    await tell(database)

    async def long_ago(tx: WriteTx) -> None:
        await tx.execute(update(AlertRule).values(created_at=Ago(9 * 86_400.0)))
        await tx.execute(update(Budget).values(period_end=Ago(7_200.0)))

    await database.write(long_ago)
    await tell(database)
    assert await told(database) == []


async def test_each_threshold_and_destination_is_told(database: Database) -> None:
    """In the form of its channel."""
    payer = await tenant(database, period=Period.TOTAL)
    await make_webhook_secret(database, tenant="acme")
    await watch(database, Threshold(50, Channel.WEBHOOK, HOOK))
    await watch(database, Threshold(90, Channel.WEBHOOK, HOOK))
    await watch(database, Threshold(90, Channel.EMAIL, "cfo@acme.example"))
    await watch(database, Threshold(100, Channel.EMAIL, "cfo@acme.example"))
    await spend(database, payer, 95)
    await tell(database)
    bodies = [json.loads(body) for _, body in await told(database)]
    (mail,) = [body for body in bodies if "subject" in body]
    assert mail["subject"] == "Fathom: 90 % of a budget is spent (acme)"
    assert mail["text"] == "Fathom: acme has spent $0.95 of $1.00 (95 %).\n"
    hooks = [body for body in bodies if "type" in body]
    assert sorted(body["data"]["at_percent"] for body in hooks) == [50, 90]
    assert {body["type"] for body in hooks} == {"budget.alert"}
    assert hooks[0]["data"] | {"at_percent": 0} == {
        "budget": "acme",
        "scope": "tenant",
        "scope_id": payer.tenant_id,
        "period": "total",
        "timezone": "Europe/Berlin",
        "resets_at": None,
        "at_percent": 0,
        "limit_usd": "1.00",
        "spent_usd": "0.95",
    }


async def test_a_project_and_a_key_have_alerts_of_their_own(database: Database) -> None:
    """By the names that people know."""
    payer = await tenant(database)
    await open_project(database, tenant="acme", name="web", allowance=Allowance(LIMIT))
    await watch(database, SLACK, scope=Scope.PROJECT, name="web")
    await watch(database, SLACK, scope=Scope.KEY, name=payer.key_id)
    await spend(database, payer, 100)
    await tell(database)
    ((_, body),) = await told(database)
    assert f"key {payer.key_id} of acme has spent $1.00" in json.loads(body)["text"]


async def test_an_alert_of_sessions_says_which(database: Database) -> None:
    """They share one rule, and so one name for people."""
    payer = await tenant(database)
    each = Allowance(LIMIT, Period.TOTAL)
    await set_budget(database, tenant="acme", scope=Scope.SESSION, name=None, allowance=each)
    await make_webhook_secret(database, tenant="acme")
    await watch(database, Threshold(50, Channel.WEBHOOK, HOOK), scope=Scope.SESSION)
    await watch(database, SLACK, scope=Scope.SESSION)
    await spend(database, replace(payer, session="order-66"), 90)
    await tell(database)
    bodies = [json.loads(body) for _, body in await told(database)]
    (hook,) = [body["data"] for body in bodies if "data" in body]
    assert (hook["scope"], hook["session"]) == ("session", "order-66")
    (slack,) = [body["text"] for body in bodies if "text" in body]
    assert "session of acme (order-66) has spent $0.90" in slack


async def test_an_alert_that_was_taken_away_is_not_told(database: Database) -> None:
    """And to take away what is not there is a mistake that is told."""
    payer = await tenant(database)
    await watch(database, SLACK)
    unwatch = partial(
        alert,
        database,
        SLACK,
        tenant="acme",
        scope=Scope.TENANT,
        name=None,
        period=None,
        off=True,
    )
    await unwatch()
    await spend(database, payer, 100)
    await tell(database)
    assert await told(database) == []
    with pytest.raises(InvalidRequest, match="no such alert"):
        await unwatch()


async def test_many_are_told_a_bounded_number_at_a_time(database: Database) -> None:
    """None twice, none left out."""
    payer = await tenant(database)
    for number in range(AT_ONCE_MAX + 20):
        await watch(database, Threshold(50, Channel.EMAIL, f"u{number}@acme.example"))
    await spend(database, payer, 60)
    alerts = Alerts(database=database, drain=Drain())
    assert await alerts.tell()
    assert not await alerts.tell()
    assert len({to for to, _ in await told(database)}) == AT_ONCE_MAX + 20


@pytest.mark.parametrize(
    ("percent", "channel", "destination"),
    [
        (0, Channel.EMAIL, "cfo@acme.example"),
        (101, Channel.EMAIL, "cfo@acme.example"),
        (80, Channel.EMAIL, "cfo"),
        (80, Channel.EMAIL, "cfo@acme.example\r\nBcc: all@acme.example"),
        (80, Channel.EMAIL, "a@b.example, c@d.example"),
        (80, Channel.SLACK, "hooks.slack.example"),
        (80, Channel.WEBHOOK, "ftp://acme.example"),
        (80, Channel.WEBHOOK, "https://acme.example/" + "a" * 500),
    ],
)
def test_a_threshold_that_is_none_is_refused(
    percent: int, channel: Channel, destination: str
) -> None:
    """Where it is set, and not when it would have been told."""
    with pytest.raises(InvalidRequest):
        Threshold(percent, channel, destination)


async def test_a_webhook_needs_a_secret_and_an_alert_a_budget(database: Database) -> None:
    """The refusal says what to do."""
    await tenant(database)
    with pytest.raises(InvalidRequest, match="fathom webhooks secret acme"):
        await watch(database, Threshold(80, Channel.WEBHOOK, HOOK))
    with pytest.raises(InvalidRequest, match="no such budget"):
        await alert(
            database,
            SLACK,
            tenant="acme",
            scope=Scope.TENANT,
            name=None,
            period=Period.HOUR,
            off=False,
        )
