"""Which experts enter a search: as many as a policy says, by what earlier solves showed."""

from collections import Counter
from typing import Any, Final

import pytest

from app.gate.routing import Card
from app.ids import TenantId
from app.learning.scorecards import Scorecards
from app.money import NanoUSD
from app.providers.completion import Completion, CompletionRequest
from app.providers.scripted import reply
from app.telemetry.readiness import Drain
from tests.backends import opened
from tests.gateway import Fathom, Json, exact, fathom, open_account, scripted_config

EXPERTS: Final = ["cheap", "second", "strong"]
SEARCH: Json = exact("391") | {
    "mode": "search",
    "metadata": {"category": "sums"},
    "search": {"max_nodes": 4, "concurrency": 1},
}
MINE: Final = TenantId("ten_mine")
OTHER: Final = TenantId("ten_other")
RIGHT: Final = Card(3, 2.0, NanoUSD(300))


def only_strong_is_right(request: CompletionRequest) -> Completion:
    """The others never are."""
    return reply("391" if request.model == "strong" else f"not {request.op}")


def config(**policy: Any) -> Any:  # noqa: ANN401 - what the file may say
    """Three experts may search, one does."""
    return scripted_config(search_experts=EXPERTS, search_experts_max=1, **policy)


async def searched(running: Fathom, times: int, **more: Any) -> Counter[str]:  # noqa: ANN401 - JSON
    """Who began the next searches."""
    began: Counter[str] = Counter()
    for _ in range(times):
        before = len(running.provider.requests)
        await running.solved(SEARCH | more)
        began[running.provider.requests[before].model] += 1
    return began


async def test_searches_come_to_know_who_is_right(database_url: str) -> None:
    """At first nobody does; then the right one goes in, and the others now and then at most."""
    async with fathom(database_url, only_strong_is_right, config=config()) as running:
        await searched(running, 40)
        assert (await searched(running, 12))["strong"] >= 9


async def test_experts_that_a_request_names_all_go_in(sqlite_url: str) -> None:
    """It is a caller's own choice; so is a policy that bounds nothing."""
    async with fathom(sqlite_url, reply("7"), config=config()) as running:
        asked = await running.solved(SEARCH, experts=["cheap", "second"])
        assert asked["search"]["nodes"] == 4
        assert {request.model for request in running.provider.requests} == {"cheap", "second"}


async def test_replay_searches_with_the_same_experts(sqlite_url: str) -> None:
    """Whatever was learned since."""
    async with fathom(sqlite_url, only_strong_is_right, config=config()) as running:
        first = await running.solved(SEARCH)
        await searched(running, 12)
        again = await running.client.post("/v1/solve", json={"replay_of": first["id"]})
        assert again.status_code == 200, again.text
        assert again.json()["search"] == first["search"]


@pytest.mark.parametrize("pooled", [False, True])
async def test_a_tenant_s_scores_are_another_s_only_where_they_are_pooled(
    sqlite_url: str, *, pooled: bool
) -> None:
    """Its own searches go by them either way."""
    policy = config(pool_labels=pooled)
    async with fathom(sqlite_url, only_strong_is_right, config=policy) as running:
        await searched(running, 3)
        cards = running.gateway.services.solver.learned.scorecards
        other = await open_account(running.gateway)
        assert cards is not None
        assert cards.cards(running.account.tenant_id, "sums")
        assert bool(cards.cards(other.tenant_id, "sums")) is pooled


async def test_cards_outlive_their_process_and_reach_the_others(database_url: str) -> None:
    """Told here, read there, and added up, not overwritten."""
    async with opened(database_url) as database:
        here, there = (Scorecards(database, drain=Drain()) for _ in range(2))
        here.tell(MINE, "sums", {"a@1": RIGHT}, pooled=True)
        there.tell(MINE, "sums", {"a@1": RIGHT, "b@1": Card(1)}, pooled=True)
        there.tell(MINE, None, {"a@1": RIGHT}, pooled=False)
        assert here.cards(MINE, "sums") == {"a@1": RIGHT}
        for _ in range(2):  # what was read is counted once, however often
            await here.refresh()
            await there.refresh()
        for cards in (here, there):
            assert cards.cards(OTHER, "sums") == {"a@1": RIGHT.told(RIGHT), "b@1": Card(1)}
            assert cards.cards(MINE, None) == {"a@1": RIGHT}
            assert cards.cards(OTHER, None) == {}
