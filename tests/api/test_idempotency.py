"""A request sent twice under one key is paid for once, and answered alike."""

import asyncio

import pytest
from sqlalchemy import update

from app.db.clock import Ago
from app.db.engine import WriteTx
from app.ledger.tables import Idempotency
from app.providers.completion import CompletionRequest, ProviderRefused
from app.providers.scripted import Answer, held, reply
from tests.gateway import Json, fathom, open_account

KEY = {"Idempotency-Key": "order-66"}
BODY: Json = {"input": "What is 17 * 23?", "mode": "single", "seed": 7}


async def test_a_repeated_request_gets_the_stored_result_and_pays_nothing(
    database_url: str,
) -> None:
    """Same key, same body: the same bytes, one call, marked as replayed."""
    async with fathom(database_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        first = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        again = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        assert first.status_code == again.status_code == 200
        assert again.content == first.content
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert len(await gateway.calls()) == 1


async def test_a_failed_solve_is_replayed_as_the_same_problem(sqlite_url: str) -> None:
    """What failed once is not tried again under its key: the key stands for one solve."""

    def refuse(request: CompletionRequest) -> Answer:
        return ProviderRefused("no such model", may_have_worked=False)

    async with fathom(sqlite_url, refuse) as gateway:
        first = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        again = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        assert first.status_code == again.status_code == 502
        assert first.json()["solve_id"] == again.json()["solve_id"]
        assert len(await gateway.calls()) == 1


async def test_a_key_with_another_body_is_refused(sqlite_url: str) -> None:
    """A reused key is a bug of the caller's, and must not return another request's answer."""
    async with fathom(sqlite_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        other = await gateway.client.post("/v1/solve", json=BODY | {"seed": 8}, headers=KEY)
        assert other.status_code == 422
        assert other.json()["code"] == "idempotency-key-reused"
        assert len(await gateway.calls()) == 1


async def test_a_request_that_still_runs_is_not_run_again(database_url: str) -> None:
    """409 while it runs; its result afterwards."""
    gate = asyncio.Event()
    script = held(gate, reply("391", input_tokens=10, output_tokens=5))
    async with fathom(database_url, script) as gateway, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(gateway.client.post("/v1/solve", json=BODY, headers=KEY))
        await gateway.provider.arrived(1, timeout_s=10)
        early = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        assert early.status_code == 409
        assert early.json()["code"] == "idempotency-in-progress"
        gate.set()
        await first
        late = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        assert late.status_code == 200
        assert len(await gateway.calls()) == 1


@pytest.mark.parametrize("store", [True, False])
async def test_a_key_whose_client_left_is_free_again(database_url: str, *, store: bool) -> None:
    """Nobody got an answer under it: who asks again gets one, and from then on the same one."""
    gate = asyncio.Event()
    async with fathom(database_url, held(gate, reply("391"))) as gateway:
        body = BODY | {"store": store}
        left = asyncio.create_task(gateway.client.post("/v1/solve", json=body, headers=KEY))
        await gateway.provider.arrived(1)
        left.cancel()
        await asyncio.wait([left])
        gate.set()
        again = await gateway.client.post("/v1/solve", json=body, headers=KEY)
        assert (again.status_code, again.json()["status"]) == (200, "completed")
        assert again.json()["output_text"] == "391"
        assert "idempotency-replayed" not in again.headers
        assert await gateway.solves() == ["cancelled", "completed"]
        third = await gateway.client.post("/v1/solve", json=body, headers=KEY)
        assert third.status_code == (200 if store else 410)
        assert len(await gateway.calls()) == 2


async def test_of_many_at_once_after_a_client_left_one_is_run(database_url: str) -> None:
    """Twenty copies race for the key that a cancelled solve has freed."""
    gate = asyncio.Event()
    async with fathom(database_url, held(gate, reply("391"))) as gateway:
        left = asyncio.create_task(gateway.client.post("/v1/solve", json=BODY, headers=KEY))
        await gateway.provider.arrived(1)
        left.cancel()
        await asyncio.wait([left])
        gate.set()
        copies = [gateway.client.post("/v1/solve", json=BODY, headers=KEY) for _ in range(20)]
        codes = [response.status_code for response in await asyncio.gather(*copies)]
        assert set(codes) <= {200, 409}
        assert await gateway.solves() == ["cancelled", "completed"]


async def test_of_many_at_once_one_is_run(database_url: str) -> None:
    """Twenty copies race: one solve, one charge; the others learn that it runs, or its result."""
    async with fathom(database_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        copies = [gateway.client.post("/v1/solve", json=BODY, headers=KEY) for _ in range(20)]
        codes = [response.status_code for response in await asyncio.gather(*copies)]
        assert set(codes) <= {200, 409}
        assert len(await gateway.calls()) == 1
        assert await gateway.solves() == ["completed"]


async def test_another_tenants_key_of_the_same_name_is_another_key(sqlite_url: str) -> None:
    """Keys are a tenant's own."""
    async with fathom(sqlite_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        other = await open_account(gateway.gateway)
        first = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        headers = KEY | {"Authorization": f"Bearer {other.key}"}
        theirs = await gateway.client.post("/v1/solve", json=BODY, headers=headers)
        assert theirs.json()["id"] != first.json()["id"]


async def test_an_erased_result_is_gone_and_not_made_again(sqlite_url: str) -> None:
    """410: a new solve under an old key would be paid twice."""
    async with fathom(sqlite_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        body = BODY | {"store": False}
        await gateway.client.post("/v1/solve", json=body, headers=KEY)
        again = await gateway.client.post("/v1/solve", json=body, headers=KEY)
        assert again.status_code == 410
        assert again.json()["code"] == "result-erased"
        assert len(await gateway.calls()) == 1


async def test_a_key_is_free_again_after_a_day(database_url: str) -> None:
    """An expired key starts a new solve."""
    async with fathom(database_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        first = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)

        async def expire(tx: WriteTx) -> None:
            await tx.execute(update(Idempotency).values(expires_at=Ago(1)))

        await gateway.gateway.database.write(expire)
        again = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        assert again.json()["id"] != first.json()["id"]


async def test_a_refused_request_leaves_its_key_free(sqlite_url: str) -> None:
    """402 stores nothing: once there is budget, the same request may be sent again."""
    async with fathom(sqlite_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        poor = BODY | {"budget": {"max_cost_usd": "0.000000001"}}
        refused = await gateway.client.post("/v1/solve", json=poor, headers=KEY)
        assert refused.status_code == 402
        served = await gateway.client.post("/v1/solve", json=BODY, headers=KEY)
        assert served.status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_malformed_key_is_refused(sqlite_url: str, key: str) -> None:
    """1 to 255 printable ASCII characters."""
    async with fathom(sqlite_url, reply("391", input_tokens=10, output_tokens=5)) as gateway:
        headers = {"Idempotency-Key": key}
        response = await gateway.client.post("/v1/solve", json=BODY, headers=headers)
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "Idempotency-Key"
