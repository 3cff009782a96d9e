"""What an operator does over HTTP, and that nobody else does."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from app.providers.scripted import ScriptedProvider, reply
from app.settings import Settings
from app.wiring import open_gateway
from tests.gateway import Json, fathom, scripted_config, served, unexpected

KEY = "k" * 32
BODY: Json = {"input": "17 * 23?", "mode": "single"}


@asynccontextmanager
async def operated(database_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A gateway with an operator, and the operator's client of it."""
    settings = Settings(database_url=database_url, admin_key=SecretStr(KEY))
    providers = {"scripted": ScriptedProvider(reply("391", input_tokens=10, output_tokens=5))}
    async with (
        open_gateway(settings, scripted_config(), providers=providers) as gateway,
        served(gateway, KEY) as (_, client),
    ):
        yield client


async def post(client: httpx.AsyncClient, path: str, **body: object) -> Json:
    """What was made."""
    response = await client.post(f"/admin/v1/{path}", json=body)
    assert response.status_code == 201, response.text
    document: Json = response.json()
    return document


async def test_operator_makes_what_a_tenant_spends_by(database_url: str) -> None:
    """From the organisation to the key, with budgets and limits that hold at once."""
    async with operated(database_url) as client:
        await post(client, "orgs", name="group", limit_usd="50", period="month")
        await post(client, "tenants", name="acme", org="group", limit_usd="5")
        await post(client, "tenants/acme/projects", name="web")
        made = await post(client, "tenants/acme/keys", project="web", limit_usd="2")
        caller = {"Authorization": f"Bearer {made['key']}"}
        assert (await client.post("/v1/solve", json=BODY, headers=caller)).status_code == 200
        rung = [{"at": 0.000_1, "mode": "single"}]
        budget = {"owner": "acme", "scope": "project", "scope_id": "web", "ladder": rung}
        assert (await client.put("/admin/v1/budgets", json=budget)).status_code == 200
        more = {"by_usd": "3", "until": "2999-01-01T00:00:00Z", "reason": "a launch"}
        await post(client, "budgets/raises", owner="acme", **more)
        listed = (await client.get("/admin/v1/tenants/acme/budgets")).json()["data"]
        limits = {level["scope"]: level["limit_usd"] for level in listed}
        assert (limits["tenant"], limits["project"]) == ("8.00", "10.00")
        limit = {"owner": "acme", "requests_per_minute": 0}
        assert (await client.put("/admin/v1/limits", json=limit)).status_code == 200
        assert (await client.post("/v1/solve", json=BODY, headers=caller)).status_code == 429
        lifted = limit | {"requests_per_minute": None}
        assert (await client.put("/admin/v1/limits", json=lifted)).status_code == 200
        assert (await client.post("/v1/solve", json=BODY, headers=caller)).status_code == 200
        revoked = await client.post(f"/admin/v1/keys/{made['id']}/revoke")
        assert revoked.status_code == 200
        assert (await client.post("/v1/solve", json=BODY, headers=caller)).status_code == 401
        keys = (await client.get("/admin/v1/tenants/acme/keys")).json()["data"]
        assert [key["revoked"] for key in keys] == [False, True]
        assert [one["name"] for one in (await client.get("/admin/v1/tenants")).json()["data"]] == [
            "acme"
        ]


@pytest.mark.parametrize("key", ["", "k", "k" * 33, "fathom_key1_secret"])
async def test_nobody_else_is_let_in(sqlite_url: str, key: str) -> None:
    """401 for any other key, a tenant's too; nothing is made."""
    async with operated(sqlite_url) as client:
        headers = {"Authorization": f"Bearer {key}"}
        for method, path in (("GET", "tenants"), ("POST", "tenants"), ("PUT", "budgets")):
            refused = await client.request(
                method, f"/admin/v1/{path}", json={"name": "acme", "owner": "a"}, headers=headers
            )
            assert refused.status_code == 401
        assert (await client.get("/admin/v1/tenants")).json()["data"] == []


async def test_nothing_is_there_without_a_key(sqlite_url: str) -> None:
    """Not even for a tenant; and a short key is refused at the start."""
    async with fathom(sqlite_url, unexpected) as gateway:
        for method, path in (("GET", "tenants"), ("POST", "tenants"), ("PUT", "limits")):
            found = await gateway.client.request(method, f"/admin/v1/{path}", json={"name": "a"})
            assert found.status_code == 404
    with pytest.raises(ValidationError):
        Settings(admin_key=SecretStr("short"))
