"""What a tenant may spend and has spent, as it can read it and as it is enforced."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.accounts import (
    Allowance,
    Scope,
    bind_cost_center,
    open_key,
    open_org,
    open_project,
    open_tenant,
    set_budget,
)
from app.ids import uuid7
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd, to_usd
from app.providers.scripted import reply
from tests.gateway import Fathom, cost, fathom

ANSWER = reply("391", input_tokens=10, output_tokens=5)
ONE_CALL_USD = to_usd(cost(10, 5))
PLENTY = Allowance(from_usd("100"), Period.TOTAL)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def _solve(gateway: Fathom, key: str) -> httpx.Response:
    body = {"input": "What is 17 * 23?", "mode": "single", "seed": 1}
    return await gateway.client.post("/v1/solve", json=body, headers=_bearer(key))


async def _key_of_a_poor_project(gateway: Fathom) -> str:
    """A key with plenty, in a project that has room for less than one call."""
    database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
    await open_tenant(database, name=name, policy="default", allowance=PLENTY)
    poor = Allowance(from_usd("0.000001"), Period.DAY, "Europe/Berlin")
    await open_project(database, tenant=name, name="web", allowance=poor)
    made = await open_key(database, tenant=name, project="web", name="k", allowance=PLENTY)
    return made.key


async def test_budgets_show_every_level_that_a_solve_must_fit(database_url: str) -> None:
    """Tenant, project and key, each with its limit, what is spent, held and left."""
    async with fathom(database_url, ANSWER) as gateway:
        key = await _key_of_a_poor_project(gateway)
        read = await gateway.client.get("/v1/budgets", headers=_bearer(key))
        levels = {level["scope"]: level for level in read.json()["data"]}
        assert set(levels) == {"tenant", "project", "key"}
        assert levels["project"]["limit_usd"] == "0.000001"
        assert levels["project"]["resets_at"] > datetime.now(UTC).timestamp()
        assert levels["tenant"]["resets_at"] is None
        assert levels["tenant"]["remaining_usd"] == "100.00"


async def test_budgets_show_every_period_of_a_level(database_url: str) -> None:
    """Each with its own limit, in its own calendar."""
    async with fathom(database_url, ANSWER) as gateway:
        database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
        made = await open_tenant(database, name=name, policy="default", allowance=PLENTY)
        for period in Period:
            allowance = Allowance(from_usd("2"), period, "Europe/Berlin")
            await set_budget(
                database, tenant=name, scope=Scope.TENANT, name=None, allowance=allowance
            )
        read = await gateway.client.get("/v1/budgets", headers=_bearer(made.key))
        levels = [level for level in read.json()["data"] if level["scope"] == "tenant"]
        assert {level["period"] for level in levels} == set(Period)
        for level in levels:
            assert (level["limit_usd"], level["timezone"]) == ("2.00", "Europe/Berlin")
            assert (level["resets_at"] is None) is (level["period"] == "total")


async def test_an_organisation_is_shown_by_what_it_has_left(database_url: str) -> None:
    """Its limit and what it spent would tell of its other tenants."""
    async with fathom(database_url, ANSWER) as gateway:
        database = gateway.gateway.database
        await open_org(database, name="group", allowance=Allowance(from_usd("3"), Period.TOTAL))
        keys = [
            (
                await open_tenant(
                    database, name=name, policy="default", allowance=PLENTY, org="group"
                )
            ).key
            for name in ("one", "other")
        ]
        assert (await _solve(gateway, keys[0])).status_code == 200
        read = await gateway.client.get("/v1/budgets", headers=_bearer(keys[1]))
        levels = {level["scope"]: level for level in read.json()["data"]}
        assert list(levels) == ["org", "tenant", "key"]
        assert levels["org"]["remaining_usd"] == to_usd(NanoUSD(from_usd("3") - cost(10, 5)))
        shown = [levels["org"][name] for name in ("limit_usd", "spent_usd", "held_usd")]
        assert shown == [None] * 3
        assert levels["tenant"]["spent_usd"] == "0.00"


async def test_a_session_has_a_cap_of_its_own(database_url: str) -> None:
    """402 names it; another session, and none, go on; what is left of it can be read."""
    async with fathom(database_url, ANSWER) as gateway:
        database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
        made = await open_tenant(database, name=name, policy="default", allowance=PLENTY)
        cap = Allowance(from_usd("0.011"), Period.TOTAL)
        await set_budget(database, tenant=name, scope=Scope.SESSION, name=None, allowance=cap)
        headers = _bearer(made.key)

        async def ask(**more: str) -> httpx.Response:
            body = {"input": "17 * 23?", "mode": "single", "seed": 1, "max_output_tokens": 1_000}
            return await gateway.client.post("/v1/solve", json=body | more, headers=headers)

        while (refused := await ask(session="chat 1")).status_code == 200:
            assert len(gateway.ops()) < 300
        assert (refused.status_code, refused.json()["scope"]) == (402, "session")
        assert (await ask(session="chat 2")).status_code == 200
        assert (await ask()).status_code == 200
        read = await gateway.client.get(
            "/v1/budgets", params={"session": "chat 1"}, headers=headers
        )
        (level,) = (level for level in read.json()["data"] if level["scope"] == "session")
        assert level["remaining_usd"] == refused.json()["remaining_usd"]
        assert level["resets_at"] is None
        for unfit in ("", "x" * 129, "a\nb"):
            assert (await ask(session=unfit)).status_code == 422
            asked = gateway.client.get("/v1/budgets", params={"session": unfit}, headers=headers)
            assert (await asked).status_code == 422


async def test_a_project_without_room_refuses_what_tenant_and_key_would_allow(
    database_url: str,
) -> None:
    """402 names the project, what it has left and when it starts anew; no call is made."""
    async with fathom(database_url, ANSWER) as gateway:
        refused = await _solve(gateway, await _key_of_a_poor_project(gateway))
        assert refused.status_code == 402
        problem = refused.json()
        assert (problem["scope"], problem["remaining_usd"]) == ("project", "0.000001")
        assert problem["resets_at"] > datetime.now(UTC).timestamp()
        assert gateway.ops() == []


async def test_a_solve_is_posted_on_every_level(database_url: str) -> None:
    """Tenant, project and key each count it once."""
    async with fathom(database_url, ANSWER) as gateway:
        database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
        await open_tenant(database, name=name, policy="default", allowance=PLENTY)
        await open_project(database, tenant=name, name="web", allowance=PLENTY)
        made = await open_key(database, tenant=name, project="web", name="k", allowance=PLENTY)
        assert (await _solve(gateway, made.key)).status_code == 200
        read = await gateway.client.get("/v1/budgets", headers=_bearer(made.key))
        spent = {level["scope"]: level["spent_usd"] for level in read.json()["data"]}
        assert spent == dict.fromkeys(("tenant", "project", "key"), ONE_CALL_USD)


async def test_a_raised_limit_admits_at_once_and_a_lowered_one_refuses(database_url: str) -> None:
    """No period has to end first; a limit below what was spent allows nothing more."""
    async with fathom(database_url, ANSWER) as gateway:
        database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
        nothing = Allowance(from_usd("0"), Period.TOTAL)
        made = await open_tenant(database, name=name, policy="default", allowance=nothing)
        assert (await _solve(gateway, made.key)).status_code == 402
        for scope, of in ((Scope.TENANT, None), (Scope.KEY, made.key_id)):
            await set_budget(database, tenant=name, scope=scope, name=of, allowance=PLENTY)
        assert (await _solve(gateway, made.key)).status_code == 200
        await set_budget(database, tenant=name, scope=Scope.TENANT, name=None, allowance=nothing)
        refused = await _solve(gateway, made.key)
        assert refused.status_code == 402
        assert refused.json()["remaining_usd"] == "0.00"


@pytest.mark.parametrize("group_by", ["expert", "model", "route", "project", "key", "cost_center"])
async def test_usage_adds_up_to_what_was_charged(database_url: str, group_by: str) -> None:
    """Whatever the groups, every call is in one of them."""
    async with fathom(database_url, ANSWER) as gateway:
        for _ in range(3):
            assert (await _solve(gateway, gateway.account.key)).status_code == 200
        read = await gateway.client.get("/v1/usage", params={"group_by": group_by})
        usage = read.json()
        assert usage["total_usd"] == to_usd(cost(30, 15))
        assert sum(row["calls"] for row in usage["data"]) == 3
        assert sum(row["input_tokens"] for row in usage["data"]) == 30


async def test_usage_is_of_the_span_and_of_the_tenant(sqlite_url: str) -> None:
    """Neither another tenant's calls are in it nor those of another time."""
    async with fathom(sqlite_url, ANSWER) as gateway:
        await _solve(gateway, gateway.account.key)
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        none = await gateway.client.get("/v1/usage", params={"start": later})
        assert none.json()["data"] == []
        made = await open_tenant(
            gateway.gateway.database, name="other", policy="default", allowance=PLENTY
        )
        theirs = await gateway.client.get("/v1/usage", headers=_bearer(made.key))
        assert theirs.json()["total_usd"] == "0.00"


@pytest.mark.parametrize(
    "query", [{"group_by": "weather"}, {"start": "yesterday"}, {"start": "2026-11-21T00:00:00"}]
)
async def test_a_question_that_makes_no_sense_is_refused(
    sqlite_url: str, query: dict[str, str]
) -> None:
    """An unknown group, no instant, an instant without a zone."""
    async with fathom(sqlite_url, ANSWER) as gateway:
        assert (await gateway.client.get("/v1/usage", params=query)).status_code == 422


async def test_usage_is_grouped_by_the_cost_center_that_was_bound(database_url: str) -> None:
    """The key's, else its project's, as it was when a solve opened; a request cannot choose one."""
    async with fathom(database_url, ANSWER) as gateway:
        database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
        first = await open_tenant(database, name=name, policy="default", allowance=PLENTY)
        await open_project(
            database, tenant=name, name="web", allowance=PLENTY, cost_center="CC-web"
        )
        keys = [
            await open_key(
                database,
                tenant=name,
                project="web",
                name="k",
                allowance=PLENTY,
                cost_center=center,
            )
            for center in (None, "CC-key")
        ]
        body = {"input": "2+2", "mode": "single", "metadata": {"cost_center": "CC-free"}}
        for key in (first.key, keys[0].key, keys[1].key):
            sent = await gateway.client.post("/v1/solve", json=body, headers=_bearer(key))
            assert sent.status_code == 200, sent.text
        await bind_cost_center(database, tenant=name, project="web", cost_center="CC-new")
        await bind_cost_center(database, tenant=name, key=keys[1].key_id, cost_center=None)
        assert (await _solve(gateway, keys[1].key)).status_code == 200
        read = await gateway.client.get(
            "/v1/usage", params={"group_by": "cost_center"}, headers=_bearer(first.key)
        )
        groups = {row["group"]: row["cost_usd"] for row in read.json()["data"]}
        assert groups == dict.fromkeys((None, "CC-web", "CC-key", "CC-new"), ONE_CALL_USD)
