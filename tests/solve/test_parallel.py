"""Mode parallel through the front door: drafts, passes that read them, and what becomes of both."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pytest

from app.ledger.journal import text_name
from app.money import NanoUSD, from_usd, to_usd
from app.providers.completion import (
    CompletionRequest,
    FinishReason,
    ProviderRefused,
    ProviderUnavailable,
)
from app.providers.scripted import Answer, Script, by_op, held, reply
from tests.gateway import (
    Fathom,
    Json,
    assert_balanced,
    exact,
    fathom,
    open_account,
    served,
    unexpected,
)
from tests.solve.detached import begin, ended, replica

PARALLEL: Final[Json] = {"mode": "parallel"}
ONE_BY_ONE: Final[Json] = {"search": {"concurrency": 1}}
FORM: Final[Json] = {
    "evaluators": [{"type": "json_schema", "config": {"schema": {"type": "integer"}}}]
}


def parallel(**options: object) -> Json:
    """A body of mode parallel."""
    return PARALLEL | {"parallel": options}


def scattered(request: CompletionRequest) -> Answer:
    """Drafts of which no two agree, and passes that all come to 391."""
    kind, _, number = request.op.partition(".")
    return reply("391" if kind == "pass" else number)


async def _unsteady(request: CompletionRequest) -> Answer:
    """Answers that overtake one another, and some that fail."""
    number = sum(int(part) * 7 for part in request.op.split(".")[1:])
    await asyncio.sleep(number * 5 % 7 * 0.01)
    if number % 5 == 1:
        return ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=0)
    return reply(f"{number % 4}", output_tokens=number)


async def _events(running: Fathom, solve: Json) -> Sequence[Json]:
    text = (await running.client.get(solve["links"]["events"])).text
    return [json.loads(line) for line in re.findall(r"^data: (.*)$", text, re.MULTILINE)]


async def test_drafts_that_agree_are_the_answer(database_url: str) -> None:
    """Four alike are sure enough; the other four, and all passes, are never paid for."""
    async with fathom(database_url, reply("391")) as running:
        solve = await running.solved(PARALLEL)
        assert sorted(running.ops()) == ["draft.1", "draft.2", "draft.3", "draft.4"]
        assert (solve["status"], solve["stop_reason"]) == ("completed", "agreement")
        assert (solve["output_text"], solve["decision"]["route"]) == ("391", "parallel")
        assert solve["decision"]["reason"] == "forced"
        assert solve["parallel"] == {
            "drafts": 4,
            "passes": 0,
            "answers": 4,
            "vote": {"leading": 4, "of": 4, "agreement": 0.96875},
            "failed": 0,
        }
        assert (solve["search"], solve["confidence"]) == (None, None)
        assert Counter(one["expert"] for one in solve["usage"]["by_expert"]) == {
            "cheap": 1,
            "strong": 1,
        }, "the policy's search experts take turns"


async def test_passes_read_all_drafts_and_answer_afresh(database_url: str) -> None:
    """The answer is what the pass agrees on, though no draft had it."""
    async with fathom(database_url, scattered) as running:
        solve = await running.solved(parallel(k=6))
        assert (solve["output_text"], solve["stop_reason"]) == ("391", "agreement")
        assert (solve["parallel"]["drafts"], solve["parallel"]["passes"]) == (6, 1)
        assert solve["lineage"]["op"].startswith("pass.1.")
        passes = [one for one in running.provider.requests if one.op.startswith("pass.")]
        assert len(passes) == 4
        for request in passes:
            (message,) = request.messages
            assert message.content.startswith("What is 17 * 23?")
            shown = re.findall(r'<draft number="\d">\n(\d)\n', message.content)
            assert sorted(shown) == list("123456")
            assert sorted(draft.text for draft in request.drafts) == list("123456")


async def test_second_pass_reads_the_first_as_well(sqlite_url: str) -> None:
    """All drafts, and then what was made of them."""
    script = by_op({"draft.*": reply("7"), "pass.1.*": reply("8"), "pass.2.*": reply("9")})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(parallel(k=2, passes=2, adaptive=False) | ONE_BY_ONE)
        assert running.ops() == [
            *("draft.1", "draft.2", "pass.1.1", "pass.1.2", "pass.2.1", "pass.2.2"),
        ]
        last = running.provider.requests[-1].messages[-1].content
        assert re.findall(r"<draft number=\"\d\">\n(\d)\n", last) == ["7", "7", "8", "8"]
        assert (solve["output_text"], solve["stop_reason"]) == ("9", "passes")
        assert solve["status"] == "completed"


async def test_without_passes_it_is_a_vote(sqlite_url: str) -> None:
    """The most frequent answer wins, however it is written; unreadable ones never do."""
    texts = ["", "1e3", "7", "1,000", "", "", "7", "1000"]
    script = by_op({f"draft.{n}": reply(text) for n, text in enumerate(texts, start=1)})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(parallel(k=8, passes=0, adaptive=False) | ONE_BY_ONE)
        assert solve["output_text"] == "1e3"
        assert solve["parallel"]["vote"] == {"leading": 3, "of": 8, "agreement": 0.253906}


async def test_pass_that_cannot_be_read_leaves_it_to_the_drafts(sqlite_url: str) -> None:
    """Cut short or empty, it says nothing."""
    cut = reply("391", finish_reason=FinishReason.LENGTH)
    script = by_op({"draft.2": reply("8"), "draft.*": reply("7"), "pass.*": cut})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(parallel(k=3, passes=1))
        assert (solve["output_text"], solve["stop_reason"]) == ("7", "passes")


async def test_verifier_decides_and_agreement_does_not(sqlite_url: str) -> None:
    """Wrong answers that agree are no reason to stop; a right one is."""
    script = by_op({"pass.1.2": reply("391"), "*": reply("7")})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(parallel(k=6, passes=3) | exact("391") | ONE_BY_ONE)
        assert (solve["output_text"], solve["stop_reason"]) == ("391", "target_score")
        assert len(running.ops()) == 8
        assert (solve["confidence"], solve["evaluation"]["score"]) == (1.0, 1.0)
        tree = await running.tree(solve)
        assert [node["score"] for node in tree["nodes"]] == [0.0] * 7 + [1.0]


async def test_scores_outrank_votes(sqlite_url: str) -> None:
    """Of what has the form, what most say."""
    script = by_op({"draft.1": reply("7"), "draft.5": reply("7"), "*": reply("seven")})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(parallel(k=6, passes=0, adaptive=False) | FORM)
        assert (solve["output_text"], solve["evaluation"]["score"]) == ("7", 1.0)


async def test_calls_run_within_the_requests_concurrency(sqlite_url: str) -> None:
    """And spread over the experts that the request names."""
    release = asyncio.Event()
    async with fathom(sqlite_url, held(release, scattered)) as running:
        body = parallel(k=6, passes=1, adaptive=False) | {"experts": ["second", "cheap"]}
        request = asyncio.create_task(running.solved(body, search={"concurrency": 3}))
        await running.provider.arrived(3)
        release.set()
        await request
        assert running.provider.max_in_flight == 3
        assert Counter(one.model for one in running.provider.requests) == {"second": 6, "cheap": 6}
        refused = await running.solve(PARALLEL, experts=["unknown"])
        assert refused.status_code == 403


async def test_drafts_and_passes_are_told_as_nodes(database_url: str) -> None:
    """Drafts have no parent, passes all that they read; the tree shows both, and why."""
    async with fathom(database_url, scattered) as running:
        solve = await running.solved(parallel(k=2, passes=1, adaptive=False) | ONE_BY_ONE)
        events = await _events(running, solve)
        completed = [one for one in events if one["type"] == "solve.node.completed"]
        assert [(one["parent"], one.get("parents")) for one in completed] == [
            *((0, None), (0, None)),
            *((1, [1, 2]), (1, [1, 2])),
        ]
        assert {one["score"] for one in completed} == {None}
        assert events[-1]["type"] == "solve.completed"
        nodes = (await running.tree(solve))["nodes"]
        assert [(one["op"], one["depth"], one["parents"]) for one in nodes] == [
            *(("draft.1", 1, []), ("draft.2", 1, [])),
            *(("pass.1.1", 2, [1, 2]), ("pass.1.2", 2, [1, 2])),
        ]
        assert {one["choice"]["action"] for one in nodes} == {"drafted", "deliberated"}
        text = await running.client.get(solve["links"]["tree"], params={"format": "text"})
        assert "391  (read 2)" in text.text


async def test_money_is_that_of_its_calls(database_url: str) -> None:
    """Each is on the receipt; the hold grew from a round of drafts, and what is left is free."""
    async with fathom(database_url, scattered) as running:
        solve = await running.solved(parallel(k=6, passes=1, adaptive=False), budget={})
        assert solve["budget"]["max_cost_usd"] == "0.50"
        receipt = (await running.client.get(solve["links"]["receipt"])).json()
        assert sorted(line["op"] for line in receipt["lines"]) == sorted(running.ops())
        assert sum(from_usd(line["cost_usd"]) for line in receipt["lines"]) == from_usd(
            solve["cost"]["total_usd"]
        )
        (level, *_) = await running.budgets()
        assert (level.posted, level.reserved) == (from_usd(solve["cost"]["total_usd"]), 0)
        metrics = (await running.client.get("/metrics")).text
        assert 'phase="draft",state="ok"} 3.0' in metrics
        assert 'phase="pass",state="ok"} 3.0' in metrics


@pytest.mark.parametrize(
    ("bound", "limited_by"),
    [({"max_calls": 9}, "max_calls"), ({"max_cost_usd": "0.012"}, "request")],
)
async def test_bound_that_is_reached_returns_the_best_so_far(
    bound: Json, limited_by: str, sqlite_url: str
) -> None:
    """Incomplete, and it says by what."""
    async with fathom(sqlite_url, scattered) as running:
        solve = await running.solved(parallel(k=6, passes=4, adaptive=False), budget=bound)
        assert solve["incomplete_details"] == {"reason": "budget_exhausted"}
        assert (solve["stop_reason"], solve["budget"]["limited_by"]) == ("budget", limited_by)
        assert solve["output_text"] == "391"
        again = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.status_code == 200, again.text


async def test_cap_below_one_short_call_is_refused(sqlite_url: str) -> None:
    """Before any call."""
    async with fathom(sqlite_url, unexpected) as running:
        refused = await running.solve(PARALLEL, budget={"max_cost_usd": "0.000001"})
        assert (refused.status_code, refused.json()["code"]) == (402, "budget-exhausted")


async def test_deadline_returns_what_the_answers_so_far_say(database_url: str) -> None:
    """Late ones count, too; the replay comes to the same."""
    script = by_op({"draft.*": scattered, "pass.1.1": reply("391"), "*": _never()})
    async with fathom(database_url, script) as running:
        solve = await running.solved(parallel(k=3, passes=1), budget={"deadline_ms": 700})
        assert solve["incomplete_details"] == {"reason": "deadline"}
        assert (solve["output_text"], solve["stop_reason"]) == ("391", "deadline")
        again = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.json()["output_text"] == "391"


def _never() -> Script:
    return held(asyncio.Event(), reply("0"))


async def test_cancelled_by_its_caller_it_is_settled(database_url: str) -> None:
    """What was paid for stays paid; nothing is held any more, and no call runs on."""
    script = by_op({"draft.1": reply("7"), "*": _never()})
    async with fathom(database_url, script) as running:
        accepted = await begin(running.client, PARALLEL)
        await running.provider.arrived(4)
        location = accepted.headers["Location"]
        await running.client.post(f"{location}/cancel")
        solve = await ended(running.client, location)
        assert (solve["status"], solve["stop_reason"]) == ("cancelled", "cancelled")
        assert running.provider.in_flight == 0


async def test_client_that_leaves_ends_it(sqlite_url: str) -> None:
    """As it ends any solve that is not in the background."""
    async with fathom(sqlite_url, _never()) as running:
        request = asyncio.create_task(running.solve(PARALLEL))
        await running.provider.arrived(4)
        request.cancel()
        await asyncio.wait([request])
        assert running.provider.in_flight == 0
        assert await running.solves() == ["cancelled"]


async def test_drafts_that_fail_are_not_waited_for(sqlite_url: str) -> None:
    """The others go on without; where none is left, it fails as its provider did."""
    refused = ProviderRefused("no", may_have_worked=False)
    script = by_op({"draft.2": refused, "*": scattered})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(parallel(k=3, passes=1))
        assert (solve["output_text"], solve["parallel"]["failed"]) == ("391", 1)
        failed = [one for one in await _events(running, solve) if "failed" in one["type"]]
        assert [one["type"] for one in failed] == ["solve.node.failed"]
    async with fathom(sqlite_url, refused) as running:
        response = await running.solve(parallel(k=3))
        assert response.status_code in {502, 503}
        assert len(running.ops()) == 3


async def test_passes_that_all_fail_leave_the_drafts(sqlite_url: str) -> None:
    """Incomplete: the upstream is degraded."""
    refused = ProviderRefused("no", may_have_worked=False)
    async with fathom(sqlite_url, by_op({"pass.*": refused, "*": scattered})) as running:
        solve = await running.solved(parallel(k=3, passes=2))
        assert solve["incomplete_details"] == {"reason": "upstream_degraded"}
        assert len(running.ops()) == 6


@pytest.mark.parametrize("body", [PARALLEL, parallel(k=6, passes=3, adaptive=False)])
async def test_replay_equals_the_solve(database_url: str, body: Json) -> None:
    """However its answers overtook one another; the same tree, and not one call."""
    async with fathom(database_url, _unsteady) as running:
        solve = await running.solved(body)
        made = len(running.provider.requests)
        assert solve["parallel"]["failed"] > 0
        response = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert response.status_code == 200, response.text
        again = response.json()
        for same in ("status", "output_text", "decision", "stop_reason", "parallel", "lineage"):
            assert again[same] == solve[same]
        assert (again["cost"]["total_usd"], len(running.provider.requests)) == ("0.00", made)
        assert (await running.tree(again))["nodes"] == (await running.tree(solve))["nodes"]
        events = [one["type"] for one in await _events(running, again)]
        assert events == [one["type"] for one in await _events(running, solve)]


async def test_it_cannot_be_resumed_with_a_new_budget(sqlite_url: str) -> None:
    """It has no tree that a search could grow."""
    async with fathom(sqlite_url, reply("7")) as running:
        solve = await running.solved(parallel(k=2) | exact("391"))
        resumed = await running.client.post(f"{solve['links']['self']}/resume", json={"budget": {}})
        assert (resumed.status_code, resumed.json()["code"]) == (409, "not-resumable")
        assert "deliberated" in resumed.json()["detail"]


@pytest.mark.parametrize("stop", ["draft.5", "pass.1.3", "pass.2.1"])
async def test_another_process_goes_on_where_one_died(database_url: str, stop: str) -> None:
    """What came back is not asked again, and the end is that of one that never stopped."""
    body = parallel(k=6, passes=2, adaptive=False) | {"search": {"concurrency": 2}}
    async with replica(database_url, by_op({stop: _never(), "*": _numbered})) as (first, provider):
        account = await open_account(first)
        async with served(first, account.key) as (_, client):
            accepted = await begin(client, body)
            async with asyncio.timeout(10):
                while stop not in [one.op for one in provider.requests]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    asked = [one.op for one in provider.requests]
    async with replica(database_url, _numbered) as (second, provider):
        async with served(second, account.key) as (_, client):
            solve = await ended(client, accepted.headers["Location"])
            assert (solve["status"], solve["stop_reason"]) == ("completed", "passes")
            assert solve["parallel"]["answers"] == 18
            again = [one.op for one in provider.requests]
            lost = set(asked) & set(again)
            assert stop in lost
            assert len(lost) <= 2, "no more than were in flight"
            assert sorted(set(asked) | set(again)) == sorted(
                [f"draft.{n}" for n in range(1, 7)]
                + [f"pass.{n}.{m}" for n in (1, 2) for m in range(1, 7)]
            )
            replayed = await client.post("/v1/solve", json={"replay_of": solve["id"]})
            assert replayed.json()["output_text"] == solve["output_text"]
        await assert_balanced(second)


def _numbered(request: CompletionRequest) -> Answer:
    return reply(str(sum(map(ord, request.op)) % 5))


async def test_tree_that_the_store_lost_is_the_journals(sqlite_url: str) -> None:
    """Read, told and resumed from the calls alone."""
    async with fathom(sqlite_url, _unsteady) as running:
        solve = await running.solved(parallel(k=5, passes=2))
        tree, events = await running.tree(solve), await _events(running, solve)
        key = running.account.key
    async with (
        replica(sqlite_url, unexpected) as (second, _),  # its embedded Redis is empty
        served(second, key) as (_, client),
    ):
        assert (await client.get(solve["links"]["tree"])).json() == tree
        told = (await client.get(solve["links"]["events"])).text
        completed = [one for one in events if one["type"] == "solve.node.completed"]
        assert told.count("event: solve.node.completed") == len(completed)


async def test_estimate_says_what_it_may_cost(database_url: str) -> None:
    """Its worst case bounds what it costs, however long the answers that are read."""
    async with fathom(database_url, _long) as running:
        body = {"input": "?", "mode": "parallel", "parallel": {"k": 3, "passes": 2}}
        made = (await running.client.post("/v1/solve/estimate", json=body)).json()
        route = made["routes"]["parallel"]
        assert made["routes"].keys() == {"parallel"}
        assert made["budget"]["max_cost_usd"] == "0.50"
        assert {one["role"] for one in made["experts"]} == {"draft"}
        assert from_usd(made["first_hold_usd"]) == 3 * from_usd(made["experts"][0]["worst_usd"])
        solve = await running.solved(body, input="?")
        assert solve["parallel"]["answers"] == 9
        assert from_usd(route["expected_usd"]) <= from_usd(route["worst_usd"])
        assert from_usd(solve["cost"]["total_usd"]) <= from_usd(route["worst_usd"])
        few = body | {"budget": {"max_calls": 3}}
        short = (await running.client.post("/v1/solve/estimate", json=few)).json()
        drafts = NanoUSD(3 * from_usd(short["experts"][0]["worst_usd"]))
        assert short["routes"]["parallel"]["worst_usd"] == to_usd(drafts)


def _long(request: CompletionRequest) -> Answer:
    sent = sum(len(message.content.encode()) for message in request.messages)
    return reply("x" * 50_000 + f"\n{request.op}", input_tokens=sent, output_tokens=1_000)


@pytest.mark.parametrize(
    "options",
    [{"k": 0}, {"k": 33}, {"passes": -1}, {"passes": 5}, {"confidence": 1.0}, {"confidence": 0.5}],
)
async def test_what_is_out_of_bounds_is_refused(sqlite_url: str, options: Json) -> None:
    """422."""
    async with fathom(sqlite_url, unexpected) as running:
        refused = await running.solve(parallel(**options))
        assert (refused.status_code, refused.json()["code"]) == (422, "validation")


async def test_texts_of_its_calls_are_kept_by_op(sqlite_url: str) -> None:
    """As candidates, and in the store that a replay reads."""
    async with fathom(sqlite_url, scattered) as running:
        solve = await running.solved(parallel(k=2, passes=1), include=["candidates"])
        told = {one["op"]: one["text"] for one in solve["candidates"]}
        assert told == {"draft.1": "1", "draft.2": "2", "pass.1.1": "391", "pass.1.2": "391"}
        tenant = await running.gateway.services.directory.authenticate(running.account.key)
        found = await running.gateway.services.archive.find(tenant, solve["id"])
        assert found.texts[text_name("pass.1.2")] == "391"
