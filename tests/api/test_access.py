"""Who may read and spend: the holder of a valid key, and nobody else's."""

from datetime import UTC, datetime

from sqlalchemy import update
from structlog.testing import capture_logs

from app.db.engine import WriteTx
from app.providers.scripted import reply
from app.tenants.tables import KeyRow, TenantRow
from tests.gateway import Json, exact, fathom, open_account, unexpected

SEARCH: Json = {"mode": "search"} | exact("391")


INVALID = (
    None,
    "",
    "Bearer",
    "Bearer ",
    "Basic dXNlcjpwYXNz",
    "Bearer nonsense",
    "Bearer fathom_",
    "Bearer fathom__secret",
    "Bearer fathom_keyunknown_c2VjcmV0",
)


async def test_request_without_a_valid_key_is_refused(sqlite_url: str) -> None:
    """401 with the scheme to use, the same words whichever part was wrong, and nothing is read."""
    async with fathom(sqlite_url, unexpected) as running:
        running.client.headers.pop("Authorization")
        for authorization in INVALID:
            headers = {} if authorization is None else {"Authorization": authorization}
            for method, path in (("POST", "/v1/solve"), ("GET", "/v1/solves/slv_1")):
                response = await running.client.request(method, path, headers=headers)
                problem = response.json()
                assert (response.status_code, problem["code"]) == (401, "unauthenticated")
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert "send a valid key" in problem["detail"]


async def test_key_with_another_secret_is_refused(sqlite_url: str) -> None:
    """The public id alone opens nothing."""
    async with fathom(sqlite_url, unexpected) as running:
        key = running.account.key
        forged = key[:-1] + ("A" if key[-1] != "A" else "B")
        headers = {"Authorization": f"Bearer {forged}"}
        response = await running.client.post("/v1/solve", json={"input": "a"}, headers=headers)
        assert response.status_code == 401


async def test_tenant_of_an_unknown_policy_is_refused(sqlite_url: str) -> None:
    """The operator's configuration has lost it: 503 by its name, and a line in the log."""
    async with fathom(sqlite_url, unexpected) as running:

        async def misplace(tx: WriteTx) -> None:
            await tx.execute(update(TenantRow).values(policy="gone"))

        await running.gateway.database.write(misplace)
        with capture_logs() as log:
            response = await running.solve()
        problem = response.json()
        assert (response.status_code, problem["code"]) == (503, "policy-not-configured")
        assert "'gone'" in problem["detail"]
        (line,) = [line for line in log if line["event"] == "policy_not_configured"]
        assert (line["log_level"], line["policy"]) == ("error", "gone")
        assert line["tenant_id"] == running.account.tenant_id
        assert await running.solves() == []


async def test_revoked_key_is_refused(sqlite_url: str) -> None:
    """From the moment it is revoked."""

    async def revoke(tx: WriteTx) -> None:
        await tx.execute(update(KeyRow).values(revoked_at=datetime.now(UTC)))

    async with fathom(sqlite_url, reply("7")) as running:
        assert (await running.solve(mode="single")).status_code == 200
        await running.gateway.database.write(revoke)
        assert (await running.solve(mode="single")).status_code == 401


async def test_scheme_is_read_in_any_case(sqlite_url: str) -> None:
    """RFC 9110: a scheme's case means nothing."""
    async with fathom(sqlite_url, reply("7")) as running:
        for scheme in ("bearer", "BEARER", "Bearer "):
            headers = {"Authorization": f"{scheme} {running.account.key}"}
            body = {"input": "a", "mode": "single"}
            response = await running.client.post("/v1/solve", json=body, headers=headers)
            assert response.status_code == 200


async def test_solve_of_another_tenant_is_not_there(sqlite_url: str) -> None:
    """404, as for one that never was: its id is not even confirmed."""
    async with fathom(sqlite_url, reply("391")) as running:
        solve = await running.solved(SEARCH)
        other = await open_account(running.gateway)
        for link in solve["links"].values():
            assert (await running.client.get(link)).status_code == 200
            found = await running.client.get(link, headers={"Authorization": f"Bearer {other.key}"})
            never = await running.client.get(link.replace(solve["id"], "slv_never"))
            assert (found.status_code, found.json()["code"]) == (404, "not-found")
            assert found.json()["title"] == never.json()["title"]
            assert never.status_code == 404


async def test_expert_outside_the_policy_is_forbidden(sqlite_url: str) -> None:
    """403, naming it and what is allowed."""
    async with fathom(sqlite_url, unexpected) as running:
        response = await running.solve(experts=["gpt-9"])
        assert (response.status_code, response.json()["code"]) == (403, "expert-not-allowed")
        assert "'gpt-9'" in response.json()["detail"]
        assert "cheap, second, strong" in response.json()["detail"]
