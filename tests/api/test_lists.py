"""A tenant's solves, listed: newest first, by page, by what they are, and nobody else's."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.accounts import Allowance, NewAccount, open_key, open_project
from app.ledger.periods import Period
from app.money import from_usd
from app.providers.completion import CompletionRequest, ProviderRefused
from app.providers.scripted import Answer, held, reply
from app.tenants.tables import TenantRow
from tests.gateway import Fathom, Json, exact, fathom, open_account
from tests.solve.detached import begin, ended

SINGLE: Json = {"mode": "single"}
SEARCH: Json = {"mode": "search", "search": {"concurrency": 1}} | exact("391")
ODD_KEY = 'a "quoted" \\ key.with $[0] \N{SNOWMAN}'


async def _page(running: Fathom, **wanted: Any) -> Json:  # noqa: ANN401 - of a query
    response = await running.client.get("/v1/solves", params=wanted)
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


async def _ids(running: Fathom, **wanted: Any) -> list[str]:  # noqa: ANN401 - of a query
    return [solve["id"] for solve in (await _page(running, **wanted))["data"]]


async def test_solves_are_listed_newest_first_by_page(database_url: str) -> None:
    """Every one once, whatever the size of a page, though more are made meanwhile."""
    async with fathom(database_url, reply("391")) as running:
        made = [(await running.solved(SINGLE))["id"] for _ in range(5)]
        assert await _ids(running) == made[::-1]
        seen: list[str] = []
        after: Json = {}
        while True:
            page = await _page(running, limit=2, **after)
            seen += [solve["id"] for solve in page["data"]]
            assert page["has_more"] is (page["next"] is not None)
            if not page["has_more"]:
                break
            after = {"after": page["next"]}
            await running.solved(SINGLE)
        assert seen == made[::-1]
        assert (await _page(running, after=made[0]))["data"] == []


async def test_listed_solve_says_what_became_of_it(database_url: str) -> None:
    """And where to read on; texts are not in a list."""
    async with fathom(database_url, reply("the answer is 391")) as running:
        solve = await running.solved(SINGLE, metadata={"order": "66"})
        (listed,) = (await _page(running))["data"]
        same = ("id", "object", "created_at", "completed_at", "status", "links", "metadata")
        assert [listed[name] for name in same] == [solve[name] for name in same]
        assert listed["route"] == solve["decision"]["route"]
        assert listed["budget"]["spent_usd"] == solve["cost"]["total_usd"]
        assert listed["key"] == running.account.key_id
        assert "391" not in str(listed["metadata"]) + str(listed["links"])


async def test_solves_are_found_by_what_they_are(database_url: str) -> None:
    """Status, route, and where they came from."""

    def script(request: CompletionRequest) -> Answer:
        if request.problem == "fail":
            return ProviderRefused("no", may_have_worked=False)
        return reply("391")

    async with fathom(database_url, script) as running:
        single = await running.solved(SINGLE)
        search = await running.solved(SEARCH)
        failed = (await running.solve(SINGLE, input="fail")).json()["solve_id"]
        replay = (await running.client.post("/v1/solve", json={"replay_of": single["id"]})).json()
        assert await _ids(running, status="failed") == [failed]
        assert await _ids(running, route="search") == [search["id"]]
        assert await _ids(running, route="search", status="failed") == []
        listed = (await _page(running, limit=1))["data"][0]
        assert (listed["id"], listed["replay_of"]) == (replay["id"], single["id"])


async def test_running_solve_is_listed_as_in_progress(database_url: str) -> None:
    """With the metadata that its request came with; also once it was asked to end."""
    gate = asyncio.Event()
    async with fathom(database_url, held(gate, reply("391"))) as running:
        accepted = await begin(running.client, SINGLE | {"metadata": {"order": "66"}})
        (listed,) = (await _page(running, status="in_progress", metadata_key="order"))["data"]
        assert (listed["status"], listed["metadata"]) == ("in_progress", {"order": "66"})
        assert (listed["completed_at"], listed["route"]) == (None, None)
        gate.set()
        await ended(running.client, accepted.headers["Location"])
        assert await _ids(running, status="in_progress") == []


async def test_solves_are_found_by_their_metadata(database_url: str) -> None:
    """By key, and by key and value; whatever characters they hold; erased ones too."""
    async with fathom(database_url, reply("391")) as running:
        first = await running.solved(SINGLE, metadata={"order": "66", "team": "a"})
        second = await running.solved(SINGLE, metadata={"order": "67"}, store=False)
        odd = await running.solved(SINGLE, metadata={ODD_KEY: ODD_KEY})
        await running.solved(SINGLE)
        assert await _ids(running, metadata_key="order") == [second["id"], first["id"]]
        assert await _ids(running, metadata_key="order", metadata_value="66") == [first["id"]]
        assert await _ids(running, metadata_key="order", metadata_value="6") == []
        assert await _ids(running, metadata_key=ODD_KEY) == [odd["id"]]
        assert await _ids(running, metadata_key=ODD_KEY, metadata_value=ODD_KEY) == [odd["id"]]
        assert await _ids(running, metadata_key="' OR 1=1 --") == []


async def test_solves_are_found_by_time_and_key(database_url: str) -> None:
    """From a moment on, until another, and by who asked."""
    allowance = Allowance(limit=from_usd("10"), period=Period.TOTAL)
    async with fathom(database_url, reply("391")) as running:
        first = await running.solved(SINGLE)
        other = await _second_key(running, allowance)
        headers = {"Authorization": f"Bearer {other.key}"}
        body = {"input": "?", "mode": "single"}
        second = (await running.client.post("/v1/solve", json=body, headers=headers)).json()
        assert await _ids(running, key=running.account.key_id) == [first["id"]]
        assert await _ids(running, key=other.key_id) == [second["id"]]
        (listed,) = (await _page(running, key=other.key_id))["data"]
        assert await _ids(running, project=listed["project"]) == [second["id"]]
        now = datetime.now(UTC)
        hour = timedelta(hours=1)
        assert len(await _ids(running, start=(now - hour).isoformat())) == 2
        assert await _ids(running, end=(now - hour).isoformat()) == []
        assert await _ids(running, start=(now + hour).isoformat()) == []


async def _second_key(running: Fathom, allowance: Allowance) -> NewAccount:
    database = running.gateway.database
    async with database.read() as tx:
        name = await tx.scalar(select(TenantRow.name))
    assert name is not None
    await open_project(database, tenant=name, name="web", allowance=allowance)
    return await open_key(database, tenant=name, name="web", allowance=allowance, project="web")


@pytest.mark.parametrize(
    "wanted",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"status": "sleeping"},
        {"route": "detour"},
        {"after": "a b"},
        {"start": "2026-11-21T00:00:00"},
        {"metadata_value": "66"},
        {"metadata_key": "\0"},
    ],
)
async def test_wish_that_makes_no_sense_is_refused(sqlite_url: str, wanted: Json) -> None:
    """422, naming the parameter."""
    async with fathom(sqlite_url, reply("391")) as running:
        response: httpx.Response = await running.client.get("/v1/solves", params=wanted)
        assert (response.status_code, response.json()["code"]) == (422, "validation")


async def test_another_tenants_solves_are_not_listed(database_url: str) -> None:
    """Whatever is asked for, even by their own ids."""
    async with fathom(database_url, reply("391")) as running:
        solve = await running.solved(SINGLE, metadata={"order": "66"})
        other = await open_account(running.gateway)
        running.client.headers["Authorization"] = f"Bearer {other.key}"
        assert await _ids(running) == []
        assert await _ids(running, metadata_key="order") == []
        assert await _ids(running, key=running.account.key_id) == []
        later = solve["id"][:-1] + "g"
        assert await _ids(running, after=later) == []
