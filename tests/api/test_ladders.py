"""A budget that is nearly used up: only single calls are begun, and everybody is told why."""

import pytest

from app.accounts import Allowance
from app.ledger.periods import Period
from app.money import from_usd
from app.providers.scripted import reply
from tests.gateway import PLENTY, Fathom, Json, exact, fathom

ANSWER = reply("391", input_tokens=10, output_tokens=5)
LADDER = Allowance(from_usd("0.10"), Period.DAY, "UTC", single_from=5)
"""One call is six ten-thousandths of it."""

SAID = "from 0.05 % of the tenant budget on, only mode single is run"


async def used(gateway: Fathom) -> None:
    """One answer has been paid for."""
    await gateway.solved(mode="single")
    gateway.provider.requests.clear()


async def estimated(gateway: Fathom, body: Json) -> Json:
    """What an estimate of the body says."""
    asked = {"input": "What is 17 * 23?"} | body
    response = await gateway.client.post("/v1/solve/estimate", json=asked)
    document: Json = response.raise_for_status().json()
    return document


async def test_gate_is_not_asked_where_only_single_calls_are_begun(database_url: str) -> None:
    """Though a second opinion is always wanted; the decision says why, and so does an estimate."""
    async with fathom(database_url, ANSWER, allowance=LADDER) as gateway:
        wanted = {"gate": {"second_opinion": "always"}}
        before = await gateway.solved(wanted)
        assert before["decision"]["reason"] != "budget_ladder"
        assert gateway.ops() == ["gate.first", "gate.second"]
        gateway.provider.requests.clear()
        foreseen = await estimated(gateway, wanted)
        assert (foreseen["admitted"], foreseen["ladder"]) == (True, SAID)
        assert list(foreseen["routes"]) == ["single"]
        solved = await gateway.solved(wanted)
        assert gateway.ops() == ["gate.first"]
        decision = solved["decision"]
        assert (decision["route"], decision["reason"]) == ("single", "budget_ladder")
        assert decision["top_reasons"] == [SAID]


async def test_search_is_refused_by_name_of_the_ladder(database_url: str) -> None:
    """As its estimate said; a single call goes on."""
    async with fathom(database_url, ANSWER, allowance=LADDER) as gateway:
        await used(gateway)
        search = exact("391") | {"mode": "search"}
        foreseen = await estimated(gateway, search)
        assert (foreseen["admitted"], foreseen["ladder"]) == (False, SAID)
        refused = await gateway.solve(search)
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (402, "budget-ladder")
        assert (problem["detail"], problem["scope"]) == (SAID, "tenant")
        assert foreseen["refusal"]["scope"] == problem["scope"]
        assert foreseen["refusal"]["resets_at"] == problem["resets_at"]
        assert gateway.ops() == []
        await gateway.solved(mode="single")


@pytest.mark.parametrize("allowance", [PLENTY, LADDER])
async def test_search_runs_where_less_is_used(sqlite_url: str, allowance: Allowance) -> None:
    """A ladder that is not reached changes nothing."""
    async with fathom(sqlite_url, ANSWER, allowance=allowance) as gateway:
        foreseen = await estimated(gateway, exact("391") | {"mode": "search"})
        assert (foreseen["admitted"], foreseen["ladder"]) == (True, None)
        solved = await gateway.solved(exact("391") | {"mode": "search"})
        assert solved["decision"]["route"] == "search"
