"""What the gate has brought for its money, as a tenant and as the operator is told."""

from datetime import UTC, datetime
from typing import Final

import pytest
from pydantic import SecretStr

from app.money import from_usd
from app.providers.scripted import by_op, reply
from app.settings import Settings
from app.wiring import open_gateway
from tests.gateway import Json, exact, open_account, served
from tests.solve.test_learning import gateway, learned

KEY: Final = "k" * 32
SCRIPT: Final = by_op({"gate.first": reply("7"), "*": reply("391")})
SEARCHED: Final[Json] = exact("391") | {"metadata": {"category": "sums"}}
SINGLE: Final[Json] = {"mode": "single"}


async def test_account_of_a_tenant(database_url: str) -> None:
    """Spend to the nano-dollar as the ledger has it; errors once enough is known of them."""
    async with gateway(database_url, SCRIPT) as running:
        solves = [await running.solved(SEARCHED) for _ in range(30)] + [
            await running.solved(SINGLE)
        ]
        await running.gateway.learner.flush()
        get = running.client.get
        told = (await get("/v1/usage/roi", params={"group_by": "category"})).json()
        usage = (await get("/v1/usage")).json()
        whole = told["total"]
        assert whole["spend_usd"] == usage["total_usd"]
        groups = {row["group"]: row for row in told["data"]}
        assert set(groups) == {"sums", None}
        sums = groups["sums"]
        assert (sums["solves"], sums["decided"], sums["changed"]) == (30, 30, 30)
        assert (sums["labels"], sums["unlabelled_share"]) == (30, 0.0)
        assert sums["errors_avoided"]["value"] == 30.0
        assert sums["errors_avoided"]["low"] < 30 < sums["errors_avoided"]["high"]
        assert from_usd(sums["worth_usd"]["value"]) == 30 * from_usd("0.05")
        spent, single = (
            sum(from_usd(solve["cost"][part][name]) for solve in solves[:30])
            for part, name in (("baseline", "single_usd"), ("baseline", "strong_usd"))
        )
        posted = from_usd(sums["spend_usd"])
        assert from_usd(sums["extra_usd"]) == posted - spent
        assert from_usd(sums["saved_on_strong_usd"]) == single - posted
        assert from_usd(sums["break_even_usd"]) == round((posted - spent) / 30)
        assert sums["saved_on_search_usd"] is not None
        forced = groups[None]
        assert (forced["decided"], forced["labels"], forced["errors_avoided"]["value"]) == (0, 0, 0)


async def test_few_labels_are_unknown(database_url: str) -> None:
    """And say which share nobody labelled."""
    async with gateway(database_url, SCRIPT) as running:
        solve = await running.solved({"gate": {"value_usd": "10", "second_opinion": "always"}})
        assert solve["decision"]["route"] in ("strong", "single")
        await running.solved(SEARCHED)
        await running.gateway.learner.flush()
        read = (await running.client.get("/v1/usage/roi")).json()
        month = f"{datetime.now(UTC):%Y-%m}"
        assert month in [row["group"] for row in read["data"]]
        whole = read["total"]
        assert (whole["errors_avoided"], whole["worth_usd"], whole["break_even_usd"]) == (None,) * 3
        assert whole["unlabelled_share"] == 0.5
        none = await running.client.get(
            "/v1/usage/roi", params={"from": "2020-01-01T00:00:00Z", "to": "2020-03-05T00:00:00Z"}
        )
        assert none.json()["total"]["solves"] == 0


async def test_operator_is_told_of_all_and_bears_the_platform(database_url: str) -> None:
    """Each tenant by name; losses and the fixed cost are the operator's alone to know."""
    config = learned().model_copy(update={"platform_cost_usd_month": from_usd("30")})
    settings = Settings(database_url=database_url, admin_key=SecretStr(KEY))
    async with gateway(database_url, SCRIPT) as running:
        await running.solved(SEARCHED)
        other = await open_account(running.gateway)
        async with served(running.gateway, other.key) as (_, client):
            body = {"input": "17 * 23?", "seed": 1} | SEARCHED
            assert (await client.post("/v1/solve", json=body)).status_code == 200
            own = (await client.get("/v1/usage/roi", params={"group_by": "tenant"})).json()
            assert (len(own["data"]), "platform" in own) == (1, False)
    span = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-16T00:00:00Z"}
    async with (
        open_gateway(settings, config, providers={"scripted": running.provider}) as later,
        served(later, KEY) as (_, client),
    ):
        read = (await client.get("/admin/v1/usage/roi")).json()
        assert len(read["data"]) >= 2
        assert {row["group"] for row in read["data"]} >= {own["data"][0]["group"]}
        past = (await client.get("/admin/v1/usage/roi", params=span)).json()
        assert past["platform"] == {"losses_usd": "0.00", "fixed_usd": "15.00", "net_usd": None}


@pytest.mark.parametrize(
    "query",
    [{"group_by": "weather"}, {"from": "2026-11-21T00:00:00"}, {"from": "1990-01-01T00:00Z"}],
)
async def test_a_question_that_makes_no_sense_is_refused(
    sqlite_url: str, query: dict[str, str]
) -> None:
    """An unknown group, an instant without a zone, and more months than anybody reads."""
    async with gateway(sqlite_url, SCRIPT) as running:
        assert (await running.client.get("/v1/usage/roi", params=query)).status_code == 422
