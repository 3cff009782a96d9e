"""The solve object: what it always has, that its amounts add up, and its headers."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from pydantic import JsonValue

from app.money import NanoUSD, from_usd
from app.providers.completion import ProviderUnavailable
from app.providers.scripted import by_op, in_turn, reply
from app.search.settings import Algorithm
from tests.backends import Backends
from tests.gateway import Json, copied, exact, fathom

LOST = ProviderUnavailable("cut off", may_have_worked=True, retry_after_s=0)
SCRIPT = {
    "gate.first": reply("7", output_tokens=11),
    "gate.second": reply("8", output_tokens=13),
    "strong": reply("8", output_tokens=17),
}
BODIES: list[Json] = [
    {"mode": "single"},
    {},
    {"evaluators": exact("391")["evaluators"], "search": {"concurrency": 1, "max_nodes": 4}},
    {"mode": "search", "search": {"max_nodes": 4}} | exact("391"),
]


@dataclass(frozen=True)
class Answered:
    """A body, what it was answered, and what its calls cost by the journal."""

    body: Json
    solve: Json
    headers: Mapping[str, str]
    spent: NanoUSD


@pytest.fixture(scope="module", params=BODIES)
def answered(
    request: pytest.FixtureRequest, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Answered:
    """One solve of each kind: its answers differ in length, and one of them is lost."""
    url = copied(backends, tmp_path_factory.mktemp("answered"))
    return asyncio.run(_answered(url, request.param))


async def _answered(url: str, body: Json) -> Answered:
    searched = in_turn(LOST, *(reply("9", output_tokens=19) for _ in range(9)))
    async with fathom(url, by_op(SCRIPT | {"t*": searched})) as running:
        response = await running.solve(body, metadata={"category": "sums"})
        assert response.status_code == 200, response.text
        spent = NanoUSD(sum(call.cost for call in await running.calls()))
        return Answered(body, response.json(), response.headers, spent)


def test_amounts_add_up(answered: Answered) -> None:
    """Gate, generation and evaluation are the total; experts are, too; waste is inside it."""
    solve = answered.solve
    cost, usage = solve["cost"], solve["usage"]
    amounts = {name: from_usd(text) for name, text in cost.items() if name.endswith("_usd")}
    parts = amounts["gate_usd"] + amounts["generation_usd"] + amounts["evaluation_usd"]
    assert parts == amounts["total_usd"] == from_usd(solve["budget"]["spent_usd"])
    assert amounts["total_usd"] == answered.spent
    assert 0 <= amounts["wasted_usd"] <= amounts["total_usd"]
    assert sum(from_usd(e["cost_usd"]) for e in usage["by_expert"]) == amounts["total_usd"]
    for kind in ("input_tokens", "output_tokens"):
        assert sum(expert[kind] for expert in usage["by_expert"]) == usage[kind]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert amounts["total_usd"] <= from_usd(solve["budget"]["max_cost_usd"])


def _amounts(value: JsonValue, name: str = "") -> list[JsonValue]:
    """Every value whose name says that it is dollars."""
    if isinstance(value, dict):
        return [found for key, part in value.items() for found in _amounts(part, key)]
    if isinstance(value, list):
        return [found for part in value for found in _amounts(part, name)]
    return [value] if name.endswith("_usd") else []


def test_every_amount_is_a_decimal_string(answered: Answered) -> None:
    """Never a float, never scientific: at least two decimals and at most nine."""
    amounts = [*_amounts(answered.solve), answered.headers["x-solve-cost-usd"]]
    assert len(amounts) > 6
    for amount in amounts:
        assert amount is None or re.fullmatch(r"\d+\.\d{2,9}", str(amount)), amount


def test_headers_say_the_short_of_it(answered: Answered) -> None:
    """Cost, route, phases; and that nobody may keep a copy."""
    solve, headers = answered.solve, answered.headers
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert headers["x-solve-cost-usd"] == solve["cost"]["total_usd"]
    assert headers["x-solve-route"] == solve["decision"]["route"]
    phases = dict(re.findall(r"(\w+);dur=([\d.]+)", headers["server-timing"]))
    assert float(phases["total"]) >= 0
    assert ("gate" in phases) is ("mode" not in answered.body)
    assert ("search" in phases) is (solve["decision"]["route"] == "search")


def test_solve_object_is_whole(answered: Answered) -> None:
    """What the contract lists, whichever way it went; a success has no error in it."""
    solve = answered.solve
    assert re.fullmatch(r"slv_[0-9a-f]{32}", solve["id"])
    assert solve["object"] == "solve"
    assert solve["created_at"] <= solve["completed_at"]
    assert solve["error"] is None
    assert solve["output"][0]["content"][0]["text"] == solve["output_text"]
    assert solve["links"]["self"] == f"/v1/solves/{solve['id']}"
    assert solve["metadata"] == {"category": "sums"}
    assert solve["lineage"]["seed"] == 1
    assert all("@" in expert for expert in solve["lineage"]["experts"])
    assert solve["decision"]["propensity"] == 1.0
    assert (solve["search"] is None) is (solve["decision"]["route"] != "search")
    assert (solve["evaluation"] is None) is ("evaluators" not in answered.body)


def test_search_is_counted_by_what_its_calls_were_for(answered: Answered) -> None:
    """Nodes are adopted, fresh or refined; failures are no nodes."""
    facts = answered.solve["search"]
    if facts is None:
        return
    calls, adopted = facts["calls"], int("mode" not in answered.body)
    assert facts["algorithm"] == "fathom"
    assert facts["nodes"] == adopted + calls["fresh"] + calls["refine"] == 4
    assert calls["failed"] == 1
    assert answered.solve["lineage"]["path"][0] == 0


async def test_candidates_come_only_where_they_are_asked_for(sqlite_url: str) -> None:
    """Every answer that was paid for, with its score and cost."""
    async with fathom(sqlite_url, by_op(SCRIPT)) as running:
        assert "candidates" not in await running.solved()
        solve = await running.solved(include=["candidates"])
        assert [(c["op"], c["text"]) for c in solve["candidates"]] == [
            ("gate.first", "7"),
            ("gate.second", "8"),
            ("strong", "8"),
        ]
        total = sum(from_usd(candidate["cost_usd"]) for candidate in solve["candidates"])
        assert total == from_usd(solve["cost"]["total_usd"])


async def test_tree_is_told_as_json_and_drawn_as_text(sqlite_url: str) -> None:
    """The same nodes both ways; a solve without a search has an empty tree."""
    async with fathom(sqlite_url, by_op({"gate.*": reply("7"), "t*": reply("8")})) as running:
        solve = await running.solved(exact("391") | {"search": {"max_nodes": 3}})
        tree = await running.tree(solve)
        assert [node["node"] for node in tree["nodes"]] == [1, 2, 3]
        assert (
            tree["nodes"][0] | {"text": "7", "answer": "7", "op": "gate.first"}
            == (tree["nodes"][0])
        )
        drawn = await running.client.get(solve["links"]["tree"], params={"format": "text"})
        assert drawn.headers["content-type"] == "text/plain; charset=utf-8"
        rows = drawn.text.splitlines()
        assert rows[0] == "problem"
        assert sorted(row.lstrip("│├└─ ")[0] for row in rows[1:]) == ["1", "2", "3"]
        assert len(rows) == 1 + 3
        single = await running.solved(mode="single")
        assert (await running.tree(single))["nodes"] == []


async def test_tree_says_why_the_search_went_there(sqlite_url: str) -> None:
    """Wider or deeper, how likely that was, and in words; what was there before was not chosen."""
    async with fathom(sqlite_url, by_op({"gate.*": reply("7"), "t*": reply("8")})) as running:
        solve = await running.solved(
            exact("391") | {"search": {"max_nodes": 6, "concurrency": 1, "patience": 9}}
        )
        nodes = (await running.tree(solve))["nodes"]
    assert nodes[0]["choice"] == {
        "action": "given",
        "propensity": None,
        "p_wider": None,
        "because": "the gate had paid for this answer before the search began",
    }
    for node in nodes[1:]:
        choice = node["choice"]
        assert choice["action"] == ("deeper" if node["parent"] else "wider")
        assert 0 < choice["propensity"] <= 1
        did = f"refined node {node['parent']}" if node["parent"] else "asked for a fresh answer"
        chance = f"{choice['p_wider']:.0%}"
        assert choice["because"] == f"{did}: going wider here had a chance of {chance}"


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_every_algorithm_can_be_asked_for(algorithm: Algorithm, sqlite_url: str) -> None:
    """By the name under which the solve object names it."""
    search = {"algorithm": algorithm, "max_nodes": 5, "patience": 9, "concurrency": 1}
    async with fathom(sqlite_url, by_op({"t*": in_turn(reply("7"), reply("391"))})) as running:
        solve = await running.solved({"mode": "search", "search": search} | exact("391"))
    assert solve["output_text"] == "391"
    assert (solve["search"]["algorithm"], solve["stop_reason"]) == (algorithm, "target_score")


async def test_search_stops_where_nothing_is_worth_its_price(sqlite_url: str) -> None:
    """Only where the caller says what a point of score is worth."""
    script = by_op({"t*": reply("7")})
    search = {"max_nodes": 64, "patience": 64}
    async with fathom(sqlite_url, script) as running:
        asked = {"mode": "search"} | exact("391")
        unpriced = await running.solved(asked | {"search": search})
        assert unpriced["stop_reason"] == "max_nodes"
        priced = await running.solved(asked | {"search": search | {"score_value_usd": "0.0001"}})
        assert priced["stop_reason"] == "value_of_information"
        assert priced["status"] == "completed"
        assert priced["search"]["nodes"] < unpriced["search"]["nodes"]


async def test_search_stops_where_passing_is_not_worth_another_call(sqlite_url: str) -> None:
    """By the value of a wrong answer, where the request itself says what that is."""
    script = by_op({"t*": reply("7")})
    search = {"max_nodes": 64, "patience": 64}
    async with fathom(sqlite_url, script) as running:
        asked = {"mode": "search", "search": search} | exact("391")
        dear = await running.solved(asked | {"gate": {"value_usd": "100"}})
        assert dear["stop_reason"] == "max_nodes"
        cheap = await running.solved(asked | {"gate": {"value_usd": "0.0001"}})
        assert cheap["stop_reason"] == "value_of_information"
        assert cheap["search"]["nodes"] < dear["search"]["nodes"]
