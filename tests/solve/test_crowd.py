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


class Watch:
    """Looks at the budgets over and over while models answer."""

    def __init__(self) -> None:
        self.samples = 0
        self._sampled = asyncio.Condition()

    async def sample(self, running: Fathom) -> None:
        """Look until cancelled: no limit may ever be seen overdrawn."""
        while True:
            for level in await running.budgets():
                assert level.posted + level.reserved <= level.limit
            async with self._sampled:
                self.samples += 1
                self._sampled.notify_all()

    async def answer(self, request: CompletionRequest) -> Answer:
        """An answer that comes after one more look, so that holds are seen while they stand."""
        async with self._sampled:
            await self._sampled.wait()
        return reply("7", output_tokens=min(900, request.max_output_tokens))


@pytest.mark.parametrize("body", [SINGLE, SEARCH], ids=["single", "search"])
async def test_crowd_never_overdraws_its_budget(body: Json, database_url: str) -> None:
    """Not at any sample; refusals are 402; at the end entries sum to zero and nothing is held."""
    allowance = Allowance(limit=LIMIT, period=Period.TOTAL)
    watch = Watch()
    async with fathom(database_url, watch.answer, allowance=allowance) as running:
        watching = asyncio.create_task(watch.sample(running))
        async with asyncio.TaskGroup() as crowd:
            solving = [crowd.create_task(running.solve(body, seed=n)) for n in range(SOLVES)]
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        assert watch.samples > 0
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
