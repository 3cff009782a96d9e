"""`/v1/solve/estimate` says what `/v1/solve` then does, and does nothing itself."""

from typing import Any

import httpx
import pytest

from app.accounts import Allowance
from app.ledger.periods import Period
from app.money import from_usd
from app.providers.scripted import reply
from tests.gateway import Fathom, Json, exact, fathom, open_account, unexpected

ANSWER = reply("391", input_tokens=10, output_tokens=5)


async def _post(gateway: Fathom, path: str, body: Json, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    document = {"input": "What is 17 * 23?", "seed": 1} | body
    return await gateway.client.post(path, json=document, headers=headers)


async def _estimated(gateway: Fathom, body: Json, key: str | None = None) -> Json:
    response = await _post(gateway, "/v1/solve/estimate", body, key)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    document: Json = response.json()
    return document


BUDGETS = [("0", 402), ("0.000001", 402), ("0.003", 200), ("0.02", 200), ("1", 200)]


@pytest.mark.parametrize(("limit", "status"), BUDGETS)
@pytest.mark.parametrize("body", [{"mode": "single"}, {}, {"mode": "search"} | exact("391")])
async def test_solve_is_admitted_where_its_estimate_says_so(
    sqlite_url: str, limit: str, status: int, body: Json
) -> None:
    """And refused with the same facts; the first hold covers the first call."""
    allowance = Allowance(from_usd(limit), Period.DAY)
    async with fathom(sqlite_url, ANSWER, allowance=allowance) as gateway:
        estimate = await _estimated(gateway, body)
        solve = await _post(gateway, "/v1/solve", body)
        assert solve.status_code == status
        assert estimate["admitted"] is (status == 200)
        if not estimate["admitted"]:
            problem = solve.json()
            assert estimate["refusal"] == {name: problem[name] for name in estimate["refusal"]}
            return
        assert estimate["budget"]["max_cost_usd"] == solve.json()["budget"]["max_cost_usd"]
        first = (await gateway.calls())[0]
        assert first.max_cost <= from_usd(estimate["first_hold_usd"])


async def test_an_estimate_holds_nothing_and_calls_nobody(database_url: str) -> None:
    """No solve, no period opened, no amount anywhere."""
    async with fathom(database_url, unexpected) as gateway:
        await _estimated(gateway, exact("391"))
        assert (gateway.ops(), await gateway.solves(), await gateway.budgets()) == ([], [], [])


async def test_an_estimate_says_what_each_route_may_cost(sqlite_url: str) -> None:
    """By expert and in all, for the routes that this request can take."""
    async with fathom(sqlite_url, unexpected) as gateway:
        estimate = await _estimated(gateway, {})
        worst = from_usd(estimate["experts"][0]["worst_usd"])
        assert [one["role"] for one in estimate["experts"]] == ["first", "second_opinion", "strong"]
        assert [one["expert"] for one in estimate["experts"]] == ["cheap", "second", "strong"]
        assert estimate["routes"].keys() == {"single", "strong"}
        assert from_usd(estimate["routes"]["single"]["worst_usd"]) == worst * 2
        assert from_usd(estimate["routes"]["strong"]["worst_usd"]) == worst * 3
        assert from_usd(estimate["first_hold_usd"]) == worst * 2
        assert (estimate["refusal"], estimate["left_out"]) == (None, [])
        assert estimate["budget"] == {
            "max_cost_usd": "0.10",
            "limited_by": "request",
            "resets_at": None,
        }


async def test_an_estimate_is_of_the_budgets_of_its_own_key(sqlite_url: str) -> None:
    """A poor tenant's says which budget narrows it and when that starts anew."""
    async with fathom(sqlite_url, unexpected) as gateway:
        poor = await open_account(gateway.gateway, Allowance(from_usd("0.003"), Period.DAY))
        estimate = await _estimated(gateway, {"mode": "single"}, poor.key)
        assert estimate["budget"]["max_cost_usd"] == "0.003"
        assert estimate["budget"]["limited_by"] in ("tenant", "key")
        assert estimate["budget"]["resets_at"] is not None
        assert estimate["experts"][0]["narrowed"]
        assert (await _estimated(gateway, {}))["budget"]["limited_by"] == "request"


REFUSED: list[tuple[dict[str, Any], int]] = [
    ({"budgett": {}}, 422),
    ({"mode": "search"}, 422),
    ({"experts": ["other"]}, 403),
]


@pytest.mark.parametrize(("body", "status"), REFUSED)
async def test_an_estimate_refuses_what_a_solve_refuses(
    sqlite_url: str, body: Json, status: int
) -> None:
    """An unknown field, a search that nothing could score, an expert that is not allowed."""
    async with fathom(sqlite_url, unexpected) as gateway:
        assert (await _post(gateway, "/v1/solve/estimate", body)).status_code == status
        assert (await _post(gateway, "/v1/solve", body)).status_code == status


async def test_an_estimate_needs_a_key(sqlite_url: str) -> None:
    """Prices and budgets are its tenant's."""
    async with fathom(sqlite_url, unexpected) as gateway:
        assert (await _post(gateway, "/v1/solve/estimate", {}, "nobody")).status_code == 401
