"""A solve told as numbered events: live or afterwards, from any replica, and from any number on."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx

from app.demo import serving
from app.ids import SolveId, solve_id
from app.providers.completion import ProviderRefused
from app.providers.scripted import by_op, held, in_turn, reply
from app.solve.following import Following
from app.store.treelog import TreeLog
from app.telemetry.readiness import Drain
from app.wiring import open_redis
from tests.backends import skip
from tests.gateway import Json, exact, fathom, open_account, unexpected
from tests.solve.detached import begin, replica

SEARCH: Json = {"mode": "search", "search": {"concurrency": 1, "max_nodes": 4}} | exact("391")
REFUSED = ProviderRefused("no", may_have_worked=False)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event as a client gets it."""

    id: int
    name: str
    data: Json


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Heard]:
    """The events of a stream, in the order in which they arrive; comments are left out."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            field, _, value = line.partition(": ")
            fields[field] = value
        elif "data" in fields:
            yield Heard(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


async def heard(client: httpx.AsyncClient, location: str, *, after: int = 0) -> list[Heard]:
    """All events until the stream ends."""
    headers = {"Last-Event-ID": str(after)} if after else {}
    async with client.stream("GET", f"{location}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return [event async for event in events(response.aiter_lines())]


def names(story: list[Heard]) -> list[str]:
    """What the events are, without the prefix that all share."""
    return [event.name.removeprefix("solve.") for event in story]


async def test_search_is_told_from_its_beginning_to_its_end(sqlite_url: str) -> None:
    """Numbered from 1 without a gap; each event says its type and number, the last has all."""
    script = by_op({"t1": reply("7"), "t2": REFUSED, "t*": reply("391")})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(SEARCH)
        story = await heard(running.client, solve["links"]["self"])
        assert names(story) == [
            "created",
            "search.started",
            "node.started",
            "node.completed",
            "best.updated",
            "node.started",
            "node.failed",
            "node.started",
            "node.completed",
            "best.updated",
            "completed",
        ]
        assert [event.id for event in story] == list(range(1, len(story) + 1))
        for event in story:
            assert (event.data["type"], event.data["sequence_number"]) == (event.name, event.id)
        first, failed = story[3].data, story[6].data
        assert (first["node"], first["parent"], first["score"]) == (1, 0, 0.0)
        assert float(first["cost_usd"]) > 0
        assert (failed["trial"], failed["reason"]) == (2, "ProviderRefused")
        assert story[-1].data["solve"] == solve


async def test_solve_without_a_search_is_told_too(sqlite_url: str) -> None:
    """That it was begun, and how it ended."""
    async with fathom(sqlite_url, reply("391")) as running:
        solve = await running.solved({"mode": "single"})
        story = await heard(running.client, solve["links"]["self"])
        assert names(story) == ["created", "completed"]


async def test_stream_goes_on_from_any_number(sqlite_url: str) -> None:
    """What was heard is not told again; to who has heard all, 204 says not to come back."""
    script = by_op({"gate.first": reply("7"), "t*": lambda request: reply(request.op)})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(SEARCH | {"mode": "auto"})
        location = solve["links"]["self"]
        story = await heard(running.client, location)
        assert len(story) > 8
        for number in range(1, len(story)):
            assert await heard(running.client, location, after=number) == story[number:]
        headers = {"Last-Event-ID": str(len(story))}
        over = await running.client.get(f"{location}/events", headers=headers)
        assert (over.status_code, over.content) == (204, b"")
        headers = {"Last-Event-ID": "the last one"}
        odd = await running.client.get(f"{location}/events", headers=headers)
        assert (odd.status_code, odd.json()["code"]) == (422, "validation")


async def test_story_is_the_same_when_the_tree_store_has_lost_it(
    sqlite_url: str, redis_url: str | None
) -> None:
    """It is rebuilt from the journal, number for number."""
    if redis_url is None:
        skip("no Redis")
    script = by_op({"gate.first": reply("7"), "t2": REFUSED, "t*": reply("8")})
    async with fathom(sqlite_url, script, redis_url=redis_url) as running:
        location = (await running.solved(SEARCH | {"mode": "auto"}))["links"]["self"]
        story = await heard(running.client, location)
        async with open_redis(redis_url) as redis:
            solve = f"tree:{{{location.rpartition('/')[2]}}}"
            assert await redis.delete(f"{solve}:l", f"{solve}:m") == 2
        again = await heard(running.client, location)
        assert names(again) == names(story)
        assert [event.id for event in again] == [event.id for event in story]


async def test_search_is_told_while_it_runs(sqlite_url: str) -> None:
    """Each event before the next call is answered; a client that was cut off misses none."""
    gates = [asyncio.Event() for _ in range(3)]
    script = in_turn(*(held(gate, reply(text)) for gate, text in zip(gates, "789", strict=True)))
    body = SEARCH | {"search": {"concurrency": 1, "max_nodes": 3}}
    async with fathom(sqlite_url, script) as running, serving(running.gateway) as address:
        headers = {"Authorization": f"Bearer {running.account.key}"}
        async with httpx.AsyncClient(base_url=address, headers=headers) as client:
            location = (await begin(client, body)).headers["Location"]
            live = list[Heard]()
            async with client.stream("GET", f"{location}/events") as response:
                async for event in events(response.aiter_lines()):
                    live.append(event)
                    if event.name == "solve.node.started":
                        trial: int = event.data["trial"]
                        gates[trial - 1].set()
                    if event.data.get("node") == 2:
                        break  # cut off in the middle
            gates[2].set()
            live += await heard(client, location, after=live[-1].id)
            assert live == await heard(client, location)
            assert names(live)[-1] == "incomplete"


async def test_search_of_another_replica_is_told_while_it_runs(
    database_url: str, redis_url: str | None
) -> None:
    """Through the tree store that both share; its end from the database."""
    if redis_url is None:
        skip("no Redis")
    gate = asyncio.Event()
    script = by_op({"t1": reply("7"), "t*": held(gate, reply("391"))})
    async with (
        replica(database_url, script, redis_url=redis_url) as (first, _),
        replica(database_url, unexpected, redis_url=redis_url) as (second, _),
        serving(first) as here,
        serving(second) as elsewhere,
    ):
        headers = {"Authorization": f"Bearer {(await open_account(first)).key}"}
        async with httpx.AsyncClient(headers=headers) as client:
            document = SEARCH | {"input": "17 * 23?", "background": True}
            key = {"Idempotency-Key": "one"}
            accepted = await client.post(f"{here}/v1/solve", json=document, headers=key)
            location = elsewhere + accepted.headers["Location"]
            live = list[Heard]()
            async with client.stream("GET", f"{location}/events") as response:
                async for event in events(response.aiter_lines()):
                    live.append(event)
                    if event.name == "solve.node.completed":
                        gate.set()
            assert live == await heard(client, location)
            assert names(live)[-1] == "completed"


async def test_silence_is_broken_and_a_drain_ends_the_stream(sqlite_url: str) -> None:
    """An empty lot where nothing was logged for a while; none is waited for by a drain."""
    drain = Drain()
    async with fathom(sqlite_url, held(asyncio.Event(), reply("391"))) as running:
        location = (await begin(running.client, SEARCH)).headers["Location"]
        following = Following(
            have_ended=running.gateway.records.have_ended,
            tree_log=TreeLog(open_redis(None)),
            drain=drain,
        )
        lots = following.follow(SolveId(location.rpartition("/")[2]), quiet_s=0.0)
        assert [await anext(lots), await anext(lots)] == [[], []]
        drain.begun = True
        assert [lot async for lot in lots] == []
        await running.client.post(f"{location}/cancel")


async def test_many_who_follow_ask_together() -> None:
    """However many streams and solves: one question to the database at a time, for all of them."""
    asked, asking = list[int](), 0

    async def have_ended(solve_ids: Sequence[SolveId]) -> Sequence[bool]:
        nonlocal asking
        asking += 1
        assert asking == 1
        asked.append(len(solve_ids))
        await asyncio.sleep(0.01)
        asking -= 1
        return [len(asked) > 20] * len(solve_ids)

    redis = open_redis(None)
    following = Following(have_ended=have_ended, tree_log=TreeLog(redis), drain=Drain())

    async def listen() -> None:
        async for lot in following.follow(solve_id()):
            assert lot == []

    async with asyncio.TaskGroup() as listeners:
        for _ in range(60):
            listeners.create_task(listen())
    await redis.aclose()
    assert max(asked) > 30
