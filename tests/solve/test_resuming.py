"""A solve that goes on with another's tree: nothing is lost, and nothing is paid for twice."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from app.db.engine import Database, WriteTx
from app.ids import SolveId
from app.ledger.retention import erase_texts
from app.ledger.tables import Budget, Call, Solve
from app.money import from_usd
from app.providers.completion import CompletionRequest, ProviderUnavailable
from app.providers.scripted import Answer, by_op, held, reply
from app.wiring import open_redis
from tests.backends import empty
from tests.gateway import (
    Fathom,
    Json,
    assert_balanced,
    exact,
    fathom,
    open_account,
    scripted_config,
    served,
)
from tests.solve.detached import begin, ended, replica

BUDGET: Json = {"budget": {"max_cost_usd": "0.5"}}
SEARCH: Json = {"mode": "search", "search": {"max_nodes": 4, "concurrency": 1}} | exact("391")


def _improving(request: CompletionRequest) -> Answer:
    """Each answer is another wrong one, and the ninth is right."""
    number = int(request.op[1:])
    return reply("391" if number == 9 else str(number), output_tokens=number)


async def _resume(
    client: httpx.AsyncClient,
    solve: Json | str,
    body: Json | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    path = solve if isinstance(solve, str) else solve["links"]["self"]
    return await client.post(f"{path}/resume", json=BUDGET | (body or {}), headers=headers)


async def _resumed(running: Fathom, solve: Json, body: Json | None = None) -> Json:
    response = await _resume(running.client, solve, body)
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


def _places(tree: Json) -> list[tuple[object, ...]]:
    names = ("node", "parent", "depth", "op", "expert", "score", "cost_usd", "text")
    return [tuple(node[name] for name in names) for node in tree["nodes"]]


async def test_resumed_search_goes_on_where_the_first_ended(database_url: str) -> None:
    """Its tree starts with the old one, asks nothing again, and is billed for its own calls."""
    async with fathom(database_url, _improving) as running:
        first = await running.solved(SEARCH)
        assert first["incomplete_details"] == {"reason": "max_nodes"}
        before = await running.tree(first)
        second = await _resumed(running, first, {"search": {"max_nodes": 12}})
        assert running.ops() == [f"t{number}" for number in range(1, 10)]
        assert (second["status"], second["stop_reason"]) == ("completed", "target_score")
        assert second["output_text"] == "391"
        assert second["resumed_from"] == first["id"] != second["id"]
        assert first["resumed_from"] is None
        assert second["search"]["resumed"] == len(before["nodes"]) == 4
        after = await running.tree(second)
        assert _places(after)[:4] == _places(before)
        sources = [node["inherited_from"] for node in after["nodes"]]
        assert sources == [first["id"]] * 4 + [None] * 5
        own = [node["cost_usd"] for node in after["nodes"] if node["inherited_from"] is None]
        assert from_usd(second["cost"]["total_usd"]) == sum(map(from_usd, own))
        assert second["usage"]["by_expert"] != []
        spent = [from_usd(solve["cost"]["total_usd"]) for solve in (first, second)]
        assert {levels.posted for levels in await running.budgets()} == {sum(spent)}
        assert await running.tree(first) == before


async def test_search_in_two_parts_is_the_search_in_one(sqlite_url: str) -> None:
    """The same seed draws the same choices for the n-th ask, whoever makes it.

    Not by `fathom`, which goes by how many nodes and how much money are left.
    """
    async with fathom(sqlite_url, _improving) as running:
        alike = {"concurrency": 1, "patience": 12, "algorithm": "ab_mcts_a"}
        whole = await running.solved(SEARCH, search=alike | {"max_nodes": 12})
        first = await running.solved(SEARCH, search=alike | {"max_nodes": 4})
        second = await _resumed(running, first, {"search": {"max_nodes": 12}})
        assert _places(await running.tree(second)) == _places(await running.tree(whole))
        assert second["lineage"]["path"] == whole["lineage"]["path"]


async def test_resumed_solve_can_be_resumed(database_url: str, redis_url: str | None) -> None:
    """Each link pays for its own nodes; a tree store that has lost all of them changes nothing."""
    async with fathom(database_url, _improving, redis_url=redis_url) as running:
        solves = [await running.solved(SEARCH)]
        for max_nodes in (6, 12):
            solves.append(await _resumed(running, solves[-1], {"search": {"max_nodes": max_nodes}}))
        assert running.ops() == [f"t{number}" for number in range(1, 10)]
        live = await running.tree(solves[-1])
        ids = [solve["id"] for solve in solves]
        sources = [node["inherited_from"] for node in live["nodes"]]
        assert sources == [ids[0]] * 4 + [ids[1]] * 2 + [None] * 3
        key = running.account.key
    if redis_url is not None:
        async with open_redis(redis_url) as redis:
            await empty(redis)
    async with (
        replica(database_url, _improving) as (gateway, _),
        served(gateway, key) as (_, client),
    ):
        assert (await client.get(solves[-1]["links"]["tree"])).json() == live


async def test_answers_of_a_single_call_become_the_first_nodes(database_url: str) -> None:
    """A solve without a search is resumed as one, and its answer is not asked for again."""
    script = by_op({"gate.first": reply("7"), "t1": reply("391")})
    async with fathom(database_url, script) as running:
        first = await running.solved({"mode": "single"} | exact("391"))
        second = await _resumed(running, first, {"search": {"concurrency": 1}})
        assert running.ops() == ["gate.first", "t1"]
        nodes = (await running.tree(second))["nodes"]
        assert [(node["op"], node["inherited_from"]) for node in nodes] == [
            ("gate.first", first["id"]),
            ("t1", None),
        ]
        assert (second["status"], second["output_text"]) == ("completed", "391")


async def test_search_that_the_gate_chose_is_resumed(sqlite_url: str) -> None:
    """The answer that it had adopted stays the first node."""
    script = by_op({"gate.first": reply("7"), "t5": reply("391"), "t*": reply("8")})
    async with fathom(sqlite_url, script) as running:
        first = await running.solved(exact("391"), search={"max_nodes": 3, "concurrency": 1})
        assert first["decision"]["route"] == "search"
        second = await _resumed(running, first, {"search": {"max_nodes": 9}})
        assert running.ops() == ["gate.first", "t1", "t2", "t3", "t4", "t5"]
        nodes = (await running.tree(second))["nodes"]
        assert [node["op"] for node in nodes] == ["gate.first", "t1", "t2", "t3", "t4", "t5"]
        assert [node["inherited_from"] for node in nodes] == [first["id"]] * 3 + [None] * 3


async def test_search_cut_short_by_its_budget_goes_on(database_url: str) -> None:
    """The reason for which most are resumed: there is money again."""
    async with fathom(database_url, _improving) as running:
        first = await running.solved(
            SEARCH, search={"max_nodes": 20, "concurrency": 1}, budget={"max_cost_usd": "0.0101"}
        )
        assert first["incomplete_details"] == {"reason": "budget_exhausted"}
        second = await _resumed(running, first)
        assert (second["status"], second["output_text"]) == ("completed", "391")
        ops = running.ops()
        assert len(ops) == len(set(ops)) == 9


async def test_answer_that_came_too_late_for_its_search_is_taken_in(sqlite_url: str) -> None:
    """It was paid for, so it is a node of the resumed tree and not asked for again."""
    async with fathom(sqlite_url, _improving) as running:
        first = await running.solved(SEARCH)

        async def untell(tx: WriteTx) -> None:
            # As the journal stands where the time ends between an answer and its score.
            await tx.execute(update(Call).where(Call.op == "t4").values(told_seq=None, score=None))

        await running.gateway.database.write(untell)
        second = await _resumed(running, first, {"search": {"max_nodes": 12}})
        assert running.ops() == [f"t{number}" for number in range(1, 10)]
        assert second["search"]["resumed"] == 4


async def test_trial_that_was_never_answered_is_made_now(sqlite_url: str) -> None:
    """Its call was cut short with the first solve; the second makes and pays for it."""
    gate = asyncio.Event()
    script = by_op({"t3": held(gate, reply("3")), "t*": _improving})
    async with fathom(sqlite_url, script) as running:
        first = await running.solved(SEARCH, budget={"deadline_ms": 400})
        assert first["incomplete_details"] == {"reason": "deadline"}
        gate.set()
        second = await _resumed(running, first, {"search": {"max_nodes": 12, "patience": 12}})
        assert running.ops() == ["t1", "t2", "t3", *(f"t{number}" for number in range(3, 10))]
        tree = await running.tree(second)
        assert [node["op"] for node in tree["nodes"]] == [f"t{n}" for n in range(1, 10)]
        assert [node["inherited_from"] is None for node in tree["nodes"]] == [False] * 2 + [
            True
        ] * 7
        key = running.account.key
    async with replica(sqlite_url, _improving) as (gateway, _), served(gateway, key) as (_, client):
        rebuilt = await client.get(second["links"]["tree"])
        assert rebuilt.json() == tree, "from the journal, where the trial was asked for before"


async def test_patience_counts_anew(sqlite_url: str) -> None:
    """Or a search that had lost it would end before its first call."""
    async with fathom(sqlite_url, reply("7")) as running:
        impatient = {"max_nodes": 20, "patience": 3, "concurrency": 1}
        first = await running.solved(SEARCH, search=impatient)
        assert (first["status"], first["stop_reason"]) == ("completed", "patience")
        second = await _resumed(running, first)
        assert second["stop_reason"] == "patience"
        assert second["search"]["nodes"] - first["search"]["nodes"] == 3


async def test_experts_that_had_failed_get_another_chance(sqlite_url: str) -> None:
    """What was out of order may have been repaired meanwhile."""
    down = ProviderUnavailable("down", may_have_worked=False, retry_after_s=0)
    is_down = True

    def script(request: CompletionRequest) -> Answer:
        return down if is_down and request.op != "t1" else _improving(request)

    async with fathom(sqlite_url, script) as running:
        first = await running.solved(SEARCH, search={"max_nodes": 20, "concurrency": 1})
        assert first["incomplete_details"] == {"reason": "upstream_degraded"}
        is_down = False
        second = await _resumed(running, first)
        assert second["status"] == "completed"
        assert second["search"]["resumed"] == 1


async def test_expert_of_another_policy_keeps_its_nodes(sqlite_url: str) -> None:
    """They were paid for; the experts of now go on from them, and refine them."""
    async with fathom(sqlite_url, _improving) as running:
        first = await running.solved(SEARCH, search={"max_nodes": 6, "concurrency": 1})
        before = _places(await running.tree(first))
        key = running.account.key
    other = scripted_config(search_experts=["second"])
    async with fathom(sqlite_url, _improving, config=other) as running:
        running.client.headers["Authorization"] = f"Bearer {key}"
        second = await _resumed(running, first)
        after = _places(await running.tree(second))
        assert after[:6] == before
        assert {place[4] for place in after[6:]} == {"second"}
        assert second["status"] == "completed"
        versions = dict(name.split("@") for name in second["lineage"]["experts"])
        assert set(versions) <= {"cheap", "second", "strong"}


@pytest.mark.parametrize("tree_store", ["kept", "lost", "cut"])
async def test_resumed_solve_of_a_dead_replica_is_finished_by_another(
    database_url: str, redis_url: str | None, tree_store: str
) -> None:
    """From its own record alone: the first solve's texts may be erased meanwhile."""
    store = None if tree_store == "lost" else redis_url
    gate = asyncio.Event()
    script = by_op({"t7": held(gate, reply("7")), "t*": _improving})
    async with AsyncExitStack() as stack:
        gateway, provider = await stack.enter_async_context(
            replica(database_url, script, redis_url=store)
        )
        account = await open_account(gateway)
        async with served(gateway, account.key) as (_, client):
            body = {"input": "What is 17 * 23?", "seed": 1} | SEARCH
            first = (await client.post("/v1/solve", json=body)).json()
            wish = {"search": {"max_nodes": 12}, "background": True}
            accepted = await _resume(client, first, wish, headers={"Idempotency-Key": "again"})
            assert accepted.status_code == 202, accepted.text
            assert accepted.json()["resumed_from"] == first["id"]
            await provider.arrived(7)
        await _erase(gateway.database, first["id"])
    if tree_store == "cut" and store is not None:
        await _cut(store, accepted.json()["id"], after=2)
    async with replica(database_url, _improving, redis_url=store) as (second, provider):
        async with served(second, account.key) as (_, client):
            result = await ended(client, accepted.headers["Location"])
            tree = (await client.get(result["links"]["tree"])).json()
        assert [request.op for request in provider.requests] == ["t7", "t8", "t9"]
        assert (result["status"], result["output_text"]) == ("completed", "391")
        assert [node["op"] for node in tree["nodes"]] == [f"t{n}" for n in range(1, 10)]
        assert [node["text"] for node in tree["nodes"]][:4] == ["1", "2", "3", "4"]
        assert [node["inherited_from"] for node in tree["nodes"]][:5] == [first["id"]] * 4 + [None]
        await assert_balanced(second)


async def _cut(url: str, solve_id: str, *, after: int) -> None:
    """Leave a tree's log as a process does that dies while it writes what it took over."""
    log, meta = (f"tree:{{{solve_id}}}:{part}" for part in "lm")
    async with open_redis(url) as redis:
        entries = await redis.xrange(log, min=f"{after + 1}-0") or []
        numbers = [number for number, _ in entries if number is not None]
        assert await redis.xdel(log, *numbers) > after
        await redis.hset(meta, "seq", str(after))


async def _erase(database: Database, solve_id: str) -> None:
    async def work(tx: WriteTx) -> None:
        await erase_texts(tx, [SolveId(solve_id)])

    await database.write(work)


async def test_resume_needs_a_tree_that_can_still_grow(sqlite_url: str) -> None:
    """409 with the reason, and nothing is held or called."""
    async with fathom(sqlite_url, by_op({"t*": reply("7"), "*": reply("391")})) as running:
        reached = await running.solved({"mode": "single"} | exact("391"))
        blind = await running.solved({"mode": "single"})
        erased = await running.solved(SEARCH, store=False)
        below = await running.solved(SEARCH)
        made = len(running.ops())
        for solve, words in (
            (reached, "reached its target"),
            (blind, "no evaluator"),
            (erased, "were erased"),
        ):
            refused = await _resume(running.client, solve)
            assert (refused.status_code, refused.json()["code"]) == (409, "not-resumable")
            assert words in refused.json()["detail"]
        small = await _resume(running.client, below, {"search": {"max_nodes": 4}})
        assert small.status_code == 422
        assert small.json()["errors"][0]["field"] == "search.max_nodes"
        unknown = await _resume(running.client, "/v1/solves/slv_never")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")
        misspelt = await _resume(running.client, below, {"budgett": {}})
        assert misspelt.status_code == 422
        assert (len(running.ops()), len(await running.solves())) == (made, 4)


async def test_solve_that_still_runs_is_not_resumed(sqlite_url: str) -> None:
    """409: it is still growing its tree itself."""
    gate = asyncio.Event()
    async with fathom(sqlite_url, held(gate, reply("7"))) as running:
        accepted = await begin(running.client, SEARCH)
        await running.provider.arrived(1)
        refused = await _resume(running.client, accepted.headers["Location"])
        assert (refused.status_code, refused.json()["code"]) == (409, "solve-in-progress")
        gate.set()
        await ended(running.client, accepted.headers["Location"])


async def test_target_may_be_raised(sqlite_url: str) -> None:
    """What was good enough then is below target now."""
    config = {"numbers": [6, 7, 8, 9], "target": 24}
    graded: Json = {"evaluators": [{"type": "expression", "config": config}], "mode": "search"}
    script = by_op({"t1": reply("6 + 7 + 8 + 9"), "t*": reply("6 * 8 / (9 - 7)")})
    async with fathom(sqlite_url, script) as running:
        modest = {"target_score": 0.01, "concurrency": 1}
        first = await running.solved(graded, search=modest)
        assert 0.01 < first["search"]["best_score"] < 1
        refused = await _resume(running.client, first)
        assert (refused.status_code, refused.json()["code"]) == (409, "not-resumable")
        second = await _resumed(running, first, {"search": {"target_score": 1.0}})
        assert (second["status"], second["search"]["best_score"]) == ("completed", 1.0)


async def test_resume_holds_its_own_money(database_url: str) -> None:
    """402 before any call where the budget has no room; the key is free for another try."""
    key = {"Idempotency-Key": "again"}
    async with fathom(database_url, _improving) as running:
        first = await running.solved(SEARCH)
        poor = {"budget": {"max_cost_usd": "0.000000001"}}
        refused = await _resume(running.client, first, poor, headers=key)
        assert (refused.status_code, refused.json()["code"]) == (402, "budget-exhausted")
        served_now = await _resume(running.client, first, headers=key)
        assert served_now.status_code == 200
        assert from_usd(served_now.json()["budget"]["max_cost_usd"]) == from_usd("0.5")


async def test_resume_sent_twice_is_paid_for_once(database_url: str) -> None:
    """And the key says which solve is meant: the same body about another one is another request."""
    key = {"Idempotency-Key": "again"}
    async with fathom(database_url, _improving) as running:
        first, other = [await running.solved(SEARCH, seed=seed) for seed in (1, 2)]
        once = await _resume(running.client, first, headers=key)
        made = len(running.ops())
        again = await _resume(running.client, first, headers=key)
        assert again.content == once.content
        assert again.headers["Idempotency-Replayed"] == "true"
        assert len(running.ops()) == made
        clash = await _resume(running.client, other, headers=key)
        assert (clash.status_code, clash.json()["code"]) == (422, "idempotency-key-reused")


async def test_resume_in_the_background_needs_a_key(sqlite_url: str) -> None:
    """As every solve there."""
    async with fathom(sqlite_url, _improving) as running:
        first = await running.solved(SEARCH)
        refused = await _resume(running.client, first, {"background": True})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_events_of_a_resumed_solve_tell_its_whole_tree(sqlite_url: str) -> None:
    """Whoever follows it sees the nodes that were taken over first."""
    async with fathom(sqlite_url, _improving) as running:
        first = await running.solved(SEARCH)
        second = await _resumed(running, first, {"search": {"max_nodes": 12}})
        told = (await running.client.get(second["links"]["events"])).text
        assert told.count("event: solve.node.completed") == 9
        assert told.count("event: solve.completed") == 1


async def _rows(database: Database, *columns: Any) -> Sequence[Any]:  # noqa: ANN401 - columns
    async with database.read() as tx:
        return (await tx.execute(select(*columns))).all()


async def test_two_may_resume_one_solve(sqlite_url: str) -> None:
    """Each grows a tree of its own, at its own cost."""
    async with fathom(sqlite_url, _improving) as running:
        first = await running.solved(SEARCH)
        both = await asyncio.gather(*(_resumed(running, first) for _ in range(2)))
        trees = [_places(await running.tree(solve)) for solve in both]
        assert trees[0] == trees[1]
        ((posted,),) = await _rows(running.gateway.database, func.sum(Solve.posted))
        budgets = await _rows(running.gateway.database, Budget.posted)
        assert {int(level) for (level,) in budgets} == {int(posted)}


async def test_resume_that_still_runs_is_not_begun_again(database_url: str) -> None:
    """409 where its client waits for it; in the background 202 again, with the same solve."""
    gate = asyncio.Event()
    script = by_op({"t5": held(gate, reply("5")), "t*": _improving})
    async with fathom(database_url, script) as running, asyncio.TaskGroup() as tasks:
        first = await running.solved(SEARCH)
        waits = tasks.create_task(
            _resume(running.client, first, headers={"Idempotency-Key": "waits"})
        )
        await running.provider.arrived(5)
        early = await _resume(running.client, first, headers={"Idempotency-Key": "waits"})
        assert (early.status_code, early.json()["code"]) == (409, "idempotency-in-progress")
        detached = {"background": True}
        twice = [
            await _resume(running.client, first, detached, headers={"Idempotency-Key": "later"})
            for _ in range(2)
        ]
        assert [response.status_code for response in twice] == [202, 202]
        assert twice[0].headers["Location"] == twice[1].headers["Location"]
        assert twice[1].headers["Idempotency-Replayed"] == "true"
        gate.set()
        assert (await waits).status_code == 200
        await ended(running.client, twice[0].headers["Location"])


async def test_stored_result_outlives_the_solve_that_was_resumed(sqlite_url: str) -> None:
    """For as long as its copies are kept; its own texts gone, there is no answer."""
    key = {"Idempotency-Key": "again"}
    async with fathom(sqlite_url, _improving) as running:
        first = await running.solved(SEARCH)
        once = await _resume(running.client, first, headers=key)
        await _erase(running.gateway.database, first["id"])
        again = await _resume(running.client, first, headers=key)
        assert again.content == once.content
        tree = await running.tree(once.json())
        assert all(node["text"] is not None for node in tree["nodes"])
        fresh = await _resume(running.client, first)
        assert (fresh.status_code, fresh.json()["code"]) == (409, "not-resumable")
        await _erase(running.gateway.database, once.json()["id"])
        gone = await _resume(running.client, first, headers=key)
        assert (gone.status_code, gone.json()["code"]) == (410, "result-erased")


async def test_cancelled_resume_is_settled_and_frees_its_key(sqlite_url: str) -> None:
    """Its own calls are billed; the tree that it took over is as it was."""
    gate = asyncio.Event()
    key = {"Idempotency-Key": "again"}
    script = by_op({"t6": held(gate, reply("6")), "t*": _improving})
    async with fathom(sqlite_url, script) as running:
        first = await running.solved(SEARCH)
        left = asyncio.create_task(_resume(running.client, first, headers=key))
        await running.provider.arrived(6)
        left.cancel()
        await asyncio.wait([left])
        gate.set()
        assert await running.solves() == ["incomplete", "cancelled"]
        again = await _resume(running.client, first, headers=key)
        assert again.status_code == 200
        assert "Idempotency-Replayed" not in again.headers
        assert running.ops().count("t5") == 2, "another solve's answers are its own"


async def test_cancelled_resume_can_be_resumed(sqlite_url: str) -> None:
    """With what it had paid for until then."""
    gate = asyncio.Event()
    script = by_op({"t6": held(gate, reply("6")), "t*": _improving})
    async with fathom(sqlite_url, script) as running:
        first = await running.solved(SEARCH)
        body = {"background": True, "search": {"max_nodes": 12}}
        begun = await _resume(running.client, first, body, headers={"Idempotency-Key": "one"})
        await running.provider.arrived(6)
        await running.client.post(f"{begun.headers['Location']}/cancel")
        cancelled = await ended(running.client, begun.headers["Location"])
        assert cancelled["status"] == "cancelled"
        gate.set()
        second = await _resumed(running, cancelled, {"search": {"max_nodes": 12}})
        assert (second["status"], second["search"]["resumed"]) == ("completed", 5)
        assert running.ops().count("t5") == 1
