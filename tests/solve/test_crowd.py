"""A hundred solves of one tenant at once, against a budget that fits some of them."""

import asyncio

import pytest

from app.accounts import Allowance
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, reply
from tests.gateway import Fathom, Json, exact, fathom

SOLVES = 100
LIMIT = from_usd("0.25")

SINGLE: Json = {"mode": "single"}
SEARCH: Json = {
    "mode": "search",
    "search": {"max_nodes": 3, "patience": 3, "concurrency": 2},
} | exact("391")


async def _answer(request: CompletionRequest) -> Answer:
    await asyncio.sleep(0.005)
    return reply("7", output_tokens=min(900, request.max_output_tokens))


async def _watch(running: Fathom) -> int:
    """Sample the budgets until cancelled; the number of samples."""
    samples = 0
    try:
        while True:
            for level in await running.budgets():
                assert level.posted + level.reserved <= level.limit
            samples += 1
            await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        return samples


@pytest.mark.parametrize("body", [SINGLE, SEARCH], ids=["single", "search"])
async def test_crowd_never_overdraws_its_budget(body: Json, database_url: str) -> None:
    """Not at any sample; refusals are 402; at the end entries sum to zero and nothing is held."""
    allowance = Allowance(limit=LIMIT, period=Period.TOTAL)
    async with fathom(database_url, _answer, allowance=allowance) as running:
        watching = asyncio.create_task(_watch(running))
        async with asyncio.TaskGroup() as crowd:
            solving = [crowd.create_task(running.solve(body, seed=n)) for n in range(SOLVES)]
        watching.cancel()
        assert await watching > 10
        responses = [task.result() for task in solving]
        statuses = [response.status_code for response in responses]
        assert set(statuses) == {200, 402}
        spent = NanoUSD(sum(from_usd(_spent(response.json())) for response in responses))
        for level in await running.budgets():
            assert (level.reserved, level.posted) == (0, spent)
        assert LIMIT // 2 < spent <= LIMIT


def _spent(document: Json) -> str:
    told = document["cost"]["total_usd"] if "cost" in document else document.get("spent_usd", "0")
    return str(told)
