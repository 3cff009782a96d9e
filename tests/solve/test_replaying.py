"""A solve made again from its record: the same answer, tree and cost lines, and not one call."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import func, select, update

from app.db.clock import Ago
from app.db.engine import WriteTx
from app.ids import SolveId
from app.ledger.quotas import Unit
from app.ledger.retention import erase_texts
from app.ledger.tables import (
    Budget,
    Call,
    Entry,
    InheritedNode,
    LimitWindow,
    Solve,
    SolveInput,
)
from app.money import from_usd
from app.providers.completion import CompletionRequest, ProviderRefused, ProviderUnavailable
from app.providers.scripted import Answer, by_op, held, reply
from tests.api.test_limits import limited
from tests.gateway import (
    Fathom,
    Json,
    assert_balanced,
    exact,
    fathom,
    open_account,
    served,
)
from tests.house.test_sizes import ROOT
from tests.solve.detached import begin, ended, replica

SAME: Final = (
    "status",
    "incomplete_details",
    "output_text",
    "output",
    "decision",
    "confidence",
    "stop_reason",
    "search",
    "lineage",
)
SEARCH: Json = {"mode": "search", "search": {"max_nodes": 14, "patience": 14}} | exact("391")


async def _unsteady(request: CompletionRequest) -> Answer:
    """Answers that take as long as they like, and every third call fails."""
    number = int(request.op[1:])
    await asyncio.sleep(number * 5 % 7 * 0.01)
    if number % 3 == 0:
        return ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=0)
    return reply(f"{number * 7 % 11}", output_tokens=number * 20)


async def _replay(running: Fathom, solve: Json, **more: Any) -> Json:  # noqa: ANN401 - JSON
    body = {"replay_of": solve["id"]} | more
    response = await running.client.post("/v1/solve", json=body)
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


async def _nothing_was_done(running: Fathom, solve: Json) -> Json:
    """Replay the solve: the replay, which must equal it and must have cost nothing."""
    before = await _standing(running)
    again = await _replay(running, solve)
    assert await _standing(running) == before
    assert [again[name] for name in SAME] == [solve[name] for name in SAME]
    assert _verdict(again) == _verdict(solve)
    assert again["replayed_cost"] == solve["cost"]
    assert from_usd(again["cost"]["total_usd"]) == 0 == len(again["usage"]["by_expert"])
    assert again["replay_of"] == solve["id"] != again["id"]
    trees = [await running.client.get(one["links"]["tree"]) for one in (solve, again)]
    assert trees[0].json()["nodes"] == trees[1].json()["nodes"]
    texts = [
        await running.client.get(one["links"]["tree"], params={"format": "text"})
        for one in (solve, again)
    ]
    assert texts[0].content == texts[1].content
    stored = (await running.client.get(again["links"]["self"])).json()
    assert stored == again
    return again


def _verdict(solve: Json) -> Json | None:
    made: Json | None = solve["evaluation"]
    if made is None:
        return None
    return made | {"items": [item | {"ms": 0} for item in made["items"]]}


async def _standing(running: Fathom) -> tuple[object, ...]:
    """All that a call or a hold would change."""
    async with running.gateway.database.read() as tx:
        calls = await tx.scalar(select(func.count()).select_from(Call))
        entries = await tx.scalar(select(func.count()).select_from(Entry))
    return len(running.provider.requests), calls, entries, await running.budgets()


@pytest.mark.parametrize(
    ("script", "body"),
    [
        pytest.param(reply("391"), {"mode": "single"}, id="one call"),
        pytest.param(reply("391"), exact("391"), id="accepted by the gate"),
        pytest.param(reply("391"), {"gate": {"second_opinion": "always"}}, id="an opinion"),
        pytest.param(
            by_op({"gate.first": reply("7"), "gate.second": reply("8"), "strong": reply("391")}),
            {"gate": {"second_opinion": "always"}},
            id="a strong call",
        ),
        pytest.param(
            by_op({"gate.first": reply("7"), "t3": reply("391"), "t*": reply("8")}),
            exact("391"),
            id="a search of the gate",
        ),
        pytest.param(
            by_op(
                {
                    "gate.first": ProviderRefused("no", may_have_worked=False),
                    "t2": reply("391"),
                    "*": reply("8"),
                }
            ),
            exact("391"),
            id="a first call that failed",
        ),
    ],
)
async def test_replay_equals_the_solve(database_url: str, script: Answer, body: Json) -> None:
    """Whatever way it went; nothing is held, charged or called."""
    async with fathom(database_url, script) as running:
        await _nothing_was_done(running, await running.solved(body))


@pytest.mark.parametrize("algorithm", ["fathom", "ab_mcts_a", "ab_mcts_m"])
async def test_search_of_four_workers_is_replayed_in_its_order(
    database_url: str, algorithm: str
) -> None:
    """However their answers overtook one another."""
    async with fathom(database_url, _unsteady) as running:
        body = SEARCH | {"search": SEARCH["search"] | {"concurrency": 4, "algorithm": algorithm}}
        solve = await running.solved(body)
        assert running.provider.max_in_flight > 1
        assert solve["search"]["calls"]["failed"] > 0
        assert len((await running.tree(solve))["nodes"]) > 8
        await _nothing_was_done(running, solve)


@pytest.mark.parametrize("bound", [{"max_calls": 9}, {"max_cost_usd": "0.02"}])
async def test_search_that_its_budget_ended_is_replayed(sqlite_url: str, bound: Json) -> None:
    """The record says where the money ran out; the replay has none to run out of."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(SEARCH, budget=bound)
        assert solve["incomplete_details"] == {"reason": "budget_exhausted"}
        await _nothing_was_done(running, solve)


async def test_search_that_its_deadline_ended_is_replayed(sqlite_url: str) -> None:
    """And so is where the time ran out."""
    script = by_op({"t6": held(asyncio.Event(), reply("7")), "t*": _unsteady})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(SEARCH, budget={"deadline_ms": 600})
        assert solve["incomplete_details"] == {"reason": "deadline"}
        await _nothing_was_done(running, solve)


async def test_resumed_solve_is_replayed(database_url: str) -> None:
    """From the tree that it took over."""
    async with fathom(database_url, _unsteady) as running:
        first = await running.solved(SEARCH, search={"max_nodes": 4, "concurrency": 2})
        resumed = await running.client.post(
            f"{first['links']['self']}/resume",
            json={"budget": {}, "search": {"max_nodes": 9, "concurrency": 2}},
        )
        again = await _nothing_was_done(running, resumed.json())
        assert again["resumed_from"] is None
        assert again["search"]["resumed"] == 4


async def test_replay_has_metadata_and_candidates_of_its_own_asking(sqlite_url: str) -> None:
    """Those are the two things that it may ask for."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(SEARCH, include=["candidates"], metadata={"a": "b"})
        again = await _replay(running, solve, include=["candidates"], metadata={"c": "d"})
        assert again["candidates"] == solve["candidates"]
        assert again["metadata"] == {"c": "d"}


async def test_replay_takes_nothing_else(sqlite_url: str) -> None:
    """422, saying what it takes."""
    async with fathom(sqlite_url, reply("391")) as running:
        solve = await running.solved(mode="single")
        others: list[Json] = [{"input": "?"}, {"mode": "search"}, {"background": True}]
        for more in others:
            body = {"replay_of": solve["id"]} | more
            refused = await running.client.post("/v1/solve", json=body)
            assert (refused.status_code, refused.json()["code"]) == (422, "validation")
            assert "replay_of, include, metadata" in refused.json()["detail"]
        assert len(await running.solves()) == 1


async def test_replay_sent_twice_is_one(database_url: str) -> None:
    """As every request with a key."""
    key = {"Idempotency-Key": "again"}
    async with fathom(database_url, reply("391")) as running:
        solve = await running.solved(exact("391"))
        body = {"replay_of": solve["id"], "include": ["candidates"]}
        both = [await running.client.post("/v1/solve", json=body, headers=key) for _ in range(2)]
        assert both[0].json() == both[1].json()
        assert both[1].headers["Idempotency-Replayed"] == "true"
        assert len(await running.solves()) == 2
        copies = [
            running.client.post("/v1/solve", json=body, headers={"Idempotency-Key": "crowd"})
            for _ in range(8)
        ]
        ids = {response.json()["id"] for response in await asyncio.gather(*copies)}
        assert len(ids) == 1


async def test_what_cannot_be_replayed(sqlite_url: str) -> None:
    """One that is erased, runs, failed, is a replay, or never was."""
    gate = asyncio.Event()
    refused = ProviderRefused("no", may_have_worked=False)
    script = by_op({"gate.first": _by_problem(gate, refused)})
    async with fathom(sqlite_url, script) as running:
        erased = await running.solved(mode="single", store=False)
        whole = await running.solved(mode="single")
        replayed = await _replay(running, whole)
        failed = (await running.solve(mode="single", input="fail")).json()["solve_id"]
        accepted = await begin(running.client, {"mode": "single", "input": "wait"})
        runs = accepted.json()["id"]
        for solve_id, status, code in (
            (erased["id"], 410, "result-erased"),
            (runs, 409, "solve-in-progress"),
            (failed, 409, "not-replayable"),
            (replayed["id"], 409, "not-replayable"),
            ("slv_never", 404, "not-found"),
            ("\0", 422, "validation"),
        ):
            response = await running.client.post("/v1/solve", json={"replay_of": solve_id})
            assert (response.status_code, response.json()["code"]) == (status, code), solve_id
        gate.set()
        await ended(running.client, accepted.headers["Location"])
        again = await running.client.post(
            f"{replayed['links']['self']}/resume", json={"budget": {}}
        )
        assert (again.status_code, again.json()["code"]) == (409, "not-resumable")


def _by_problem(gate: asyncio.Event, refused: ProviderRefused) -> Any:  # noqa: ANN401 - a script
    async def script(request: CompletionRequest) -> Answer:
        if request.problem == "wait":
            await gate.wait()
        return refused if request.problem == "fail" else reply("391")

    return script


async def _tamper(running: Fathom, *statements: Any) -> None:  # noqa: ANN401 - statements
    async def work(tx: WriteTx) -> None:
        for statement in statements:
            await tx.execute(statement)

    await running.gateway.database.write(work)


async def _diverges(running: Fathom, solve: Json) -> None:
    rows = len(await running.solves())
    response = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
    assert (response.status_code, response.json()["code"]) == (409, "replay-divergence")
    assert len(await running.solves()) == rows


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"prompt_sha256": "0" * 64}, id="another prompt"),
        pytest.param({"score": 0.5}, id="another score"),
        pytest.param({"parent": 1}, id="another parent"),
        pytest.param({"expert": "second"}, id="another expert"),
    ],
)
async def test_record_that_differs_is_a_divergence(sqlite_url: str, changed: Json) -> None:
    """409 and nothing is kept: an answer that is nearly the recorded one is none."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(SEARCH, search={"concurrency": 1, "max_nodes": 6})
        await _tamper(running, update(Call).where(Call.op == "t5").values(**changed))
        await _diverges(running, solve)


async def test_another_seed_is_a_divergence(sqlite_url: str) -> None:
    """The draws decide what is asked."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(SEARCH, search={"concurrency": 1, "max_nodes": 14})
        async with running.gateway.database.read() as tx:
            request: Json = await tx.scalar(select(SolveInput.request)) or {}
        await _tamper(running, update(SolveInput).values(request=request | {"seed": 99}))
        await _diverges(running, solve)


async def test_call_that_is_not_in_the_record_is_a_divergence(sqlite_url: str) -> None:
    """The gate wants an opinion that was not bought then."""
    async with fathom(sqlite_url, reply("391")) as running:
        solve = await running.solved({"gate": {"second_opinion": "never"}})
        async with running.gateway.database.read() as tx:
            request: Json = await tx.scalar(select(SolveInput.request)) or {}
        wanted = request | {"gate": {"value": None, "second_opinion": "always"}}
        await _tamper(running, update(SolveInput).values(request=wanted))
        await _diverges(running, solve)


CHANGED: Final = """
import asyncio, json, sys
import app
from tests.gateway import scripted_config, served
from app.providers.scripted import ScriptedProvider, reply
from app.settings import Settings
from app.wiring import open_gateway

async def main(url, key, solve_id):
    provider = ScriptedProvider(reply("391"))
    config = scripted_config()
    async with open_gateway(
        Settings(database_url=url), config, providers={"scripted": provider}
    ) as gateway, served(gateway, key) as (_, client):
        response = await client.post("/v1/solve", json={"replay_of": solve_id})
    told = response.json()
    calls = len(provider.requests)
    print(json.dumps([app.__file__, response.status_code, told.get("code"), calls]))

asyncio.run(main(*sys.argv[1:]))
"""

CONSTANTS: Final = [
    pytest.param(None, [200, None], id="nothing"),
    pytest.param(
        ("search/draws.py", "counter[3] = number", "counter[3] = number + 1"),
        [409, "replay-divergence"],
        id="where the draws start",
    ),
    pytest.param(
        ("solve/prompts.py", "That answer is not right yet.", "That answer is not right."),
        [409, "replay-divergence"],
        id="a word of a prompt",
    ),
    pytest.param(
        ("search/search.py", "return StopReason.PATIENCE", "return None"),
        [409, "replay-divergence"],
        id="when the search stops",
    ),
]


@pytest.mark.parametrize(("changed", "expected"), CONSTANTS)
async def test_changed_engine_is_a_divergence(
    sqlite_url: str,
    tmp_path: Path,
    changed: tuple[str, str, str] | None,
    expected: list[object],
) -> None:
    """One constant of another version: it would make calls that the record does not have."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(
            SEARCH, search={"max_nodes": 30, "patience": 8, "concurrency": 2}
        )
        assert solve["stop_reason"] == "patience"
        key = running.account.key
    copy = tmp_path / "copy"
    for package in ("app", "tests", "migrations"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, copy / package, ignore=ignored)
    if changed is not None:
        path, old, new = changed
        text = (copy / "app" / path).read_text()
        assert text.count(old) == 1
        (copy / "app" / path).write_text(text.replace(old, new))
    found = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [sys.executable, "-c", CHANGED, sqlite_url, key, solve["id"]],
        env=os.environ | {"PYTHONPATH": str(copy)},
        cwd=copy,
        capture_output=True,
        check=False,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    code, *told, calls = json.loads(found.stdout.splitlines()[-1])
    assert code.startswith(str(copy)), "the changed code is what runs"
    assert (told, calls) == (expected, 0)


async def test_replay_is_written_down_as_a_solve_that_cost_nothing(sqlite_url: str) -> None:
    """With the calls behind its nodes, so that the books can be checked."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(SEARCH)
        again = await _replay(running, solve)
        async with running.gateway.database.read() as tx:
            row = (
                await tx.execute(
                    select(Solve.replay_of, Solve.cap, Solve.posted, Solve.hold).where(
                        Solve.id == SolveId(again["id"])
                    )
                )
            ).one()
            nodes = await tx.scalar(select(func.count()).select_from(InheritedNode))
        assert tuple(row) == (solve["id"], 0, 0, 0)
        assert nodes == again["search"]["nodes"]


async def test_texts_of_a_replay_are_kept_as_long_as_those_of_a_solve(sqlite_url: str) -> None:
    """They are copies, and no less the tenant's."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(SEARCH)
        again = await _replay(running, solve)
        async with running.gateway.database.read() as tx:
            dated = select(Solve.id).where(Solve.erase_at.is_not(None))
            assert set((await tx.scalars(dated)).all()) == {solve["id"], again["id"]}


async def test_replay_is_bounded_by_no_limit_nor_counts_in_one(database_url: str) -> None:
    """It makes no call and costs nothing, whatever is used up, or was raised until now."""
    async with fathom(database_url, reply("391")) as running:
        await limited(running, Unit.REQUESTS, 1)
        solve = await running.solved(mode="single")
        assert (await running.solve(mode="single")).status_code == 429

        async def use_up(tx: WriteTx) -> None:
            ended = {"lim": Budget.posted, "raised": 1, "raised_until": Ago(1.0)}
            await tx.execute(update(Budget).values(ended))

        await running.gateway.database.write(use_up)
        again = await _replay(running, solve)
        assert again["cost"]["total_usd"] == "0.00"
        async with running.gateway.database.read() as tx:
            assert (await tx.execute(select(LimitWindow.used, LimitWindow.held))).one() == (1, 0)


async def test_stored_replay_outlives_the_solve_that_was_replayed(sqlite_url: str) -> None:
    """Its answer and its tree are copies, for the record may be erased at any time."""
    key = {"Idempotency-Key": "again"}
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(SEARCH)
        body = {"replay_of": solve["id"]}
        once = await running.client.post("/v1/solve", json=body, headers=key)
        tree = await running.tree(once.json())

        async def erase(tx: WriteTx) -> None:
            await erase_texts(tx, [SolveId(solve["id"])])

        await running.gateway.database.write(erase)
        again = await running.client.post("/v1/solve", json=body, headers=key)
        assert again.json() == once.json()
        assert await running.tree(once.json()) == tree
        fresh = await running.client.post("/v1/solve", json=body)
        assert (fresh.status_code, fresh.json()["code"]) == (410, "result-erased")
        events = (await running.client.get(once.json()["links"]["events"])).text
        assert events.count("event: solve.node.completed") == len(tree["nodes"])


async def test_solve_that_another_replica_finished_is_replayed(database_url: str) -> None:
    """What was asked twice, because its first call was lost, was answered once."""
    gate = asyncio.Event()
    script = by_op({"t4": held(gate, reply("7")), "t*": _unsteady})
    async with replica(database_url, script) as (first, provider):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            body = SEARCH | {"search": {"max_nodes": 8, "patience": 8, "concurrency": 1}}
            accepted = await begin(client, body)
            await provider.arrived(4)
    async with replica(database_url, _unsteady) as (second, provider):
        async with served(second, account.key) as (_, client):
            solve = await ended(client, accepted.headers["Location"])
            made = len(provider.requests)
            again = await client.post("/v1/solve", json={"replay_of": solve["id"]})
            assert again.status_code == 200, again.text
            assert again.json()["output_text"] == solve["output_text"]
            assert again.json()["search"] == solve["search"]
            assert len(provider.requests) == made
        await assert_balanced(second)
