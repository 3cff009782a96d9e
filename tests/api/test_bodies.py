"""What `POST /v1/solve` refuses to take: each body refused by name, before any call or hold."""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import httpx
import pytest

from app.providers.scripted import reply
from tests.backends import Backends
from tests.gateway import Fathom, Json, copied, fathom, unexpected

MIB = 1024 * 1024

EVALUATOR: Json = {"type": "exact", "config": {"expected": "4"}}


def _with(**fields: Any) -> Json:  # noqa: ANN401 - JSON
    return {"input": "2 + 2?"} | fields


UNKNOWN: list[tuple[Json, str]] = [
    (_with(budgett={"max_cost_usd": "1"}), "budgett"),
    (_with(gate={"value": "1"}), "gate.value"),
    (_with(search={"nodes": 4}), "search.nodes"),
    (_with(budget={"max_cost": "1"}), "budget.max_cost"),
    (_with(answer={"how": "boxed"}), "answer.how"),
    (_with(evaluators=[EVALUATOR | {"wieght": 1}]), "evaluators.0.exact.wieght"),
    (
        _with(evaluators=[{"type": "exact", "config": {"expected": "4", "case": True}}]),
        "evaluators.0.exact.config.case",
    ),
    ({"input": [{"role": "user", "content": "a", "name": "b"}]}, "0.name"),
    (
        {"input": [{"role": "user", "content": [{"type": "text", "text": "a", "lang": "en"}]}]},
        "0.lang",
    ),
]

INVALID: list[tuple[Json, str]] = [
    ({}, "input"),
    (_with(input=""), "input"),
    (_with(input=[]), "input"),
    (_with(input=7), "input"),
    (_with(input=[{"role": "tool", "content": "a"}]), "role"),
    (_with(input=[{"role": "user", "content": ""}]), "content"),
    (_with(input=[{"role": "user", "content": []}]), "content"),
    (_with(input=[{"role": "user", "content": [{"type": "image", "url": "x"}]}]), "type"),
    (_with(mode="deep"), "mode"),
    (_with(mode=None), "mode"),
    (_with(experts=[]), "experts"),
    (_with(experts="cheap"), "experts"),
    (_with(gate={"value_usd": 0.05}), "gate.value_usd"),
    (_with(gate={"value_usd": "-1"}), "gate.value_usd"),
    (_with(gate={"second_opinion": "maybe"}), "gate.second_opinion"),
    (_with(search={"max_nodes": 0}), "search.max_nodes"),
    (_with(search={"max_nodes": 513}), "search.max_nodes"),
    (_with(search={"concurrency": 33}), "search.concurrency"),
    (_with(search={"target_score": 0}), "search.target_score"),
    (_with(search={"target_score": 1.1}), "search.target_score"),
    (_with(search={"algorithm": "dfs"}), "search.algorithm"),
    (_with(evaluators=[EVALUATOR] * 9), "evaluators"),
    (_with(evaluators=[{"type": "vibes", "config": {}}]), "evaluators.0"),
    (_with(evaluators=[{"config": {"expected": "4"}}]), "evaluators.0"),
    (_with(evaluators=[{"type": "exact"}]), "evaluators.0.exact.config"),
    (_with(evaluators=[EVALUATOR | {"weight": 0}]), "evaluators.0.exact.weight"),
    (_with(evaluators=[EVALUATOR | {"pass_score": 2}]), "evaluators.0.exact.pass_score"),
    (_with(combine="mean"), "combine"),
    (_with(budget={"max_cost_usd": "0"}), "budget.max_cost_usd"),
    (_with(budget={"max_cost_usd": 0.1}), "budget.max_cost_usd"),
    (_with(budget={"max_cost_usd": "1e3"}), "budget.max_cost_usd"),
    (_with(budget={"max_cost_usd": "0.0000000001"}), "budget.max_cost_usd"),
    (_with(budget={"max_cost_usd": "9999999999"}), "budget.max_cost_usd"),
    (_with(budget={"max_calls": 0}), "budget.max_calls"),
    (_with(budget={"max_total_tokens": "many"}), "budget.max_total_tokens"),
    (_with(budget={"deadline_ms": 600_001}), "budget.deadline_ms"),
    (_with(budget={"on_exhausted": "shrug"}), "budget.on_exhausted"),
    (_with(budget=None), "budget"),
    (_with(max_output_tokens=0), "max_output_tokens"),
    (_with(temperature=2.1), "temperature"),
    (_with(seed=-1), "seed"),
    (_with(seed=2**53), "seed"),
    (_with(seed=1.5), "seed"),
    (_with(store="maybe"), "store"),
    (_with(include=["everything"]), "include"),
    (_with(answer={"extract": "regex"}), "answer.extract"),
    (_with(metadata={f"k{n}": "v" for n in range(17)}), "metadata"),
    (_with(metadata={"k": 1}), "metadata.k"),
    (_with(metadata={"k": "v" * 513}), "metadata.k"),
    (_with(metadata={"": "v"}), "metadata"),
]


@pytest.fixture(scope="module")
async def running(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Fathom]:
    """One gateway for all bodies: none of them leaves a trace, and none leads to a call."""
    url = copied(backends, tmp_path_factory.mktemp("bodies"))
    async with fathom(url, unexpected) as gateway:
        yield gateway
        assert await gateway.solves() == []


async def _refused(running: Fathom, body: Json) -> Json:
    response = await running.client.post("/v1/solve", json=body)
    assert response.status_code == 422, response.text
    problem: Json = response.json()
    assert problem["code"] == "validation"
    return problem


@pytest.mark.parametrize(("body", "field"), UNKNOWN, ids=[field for _, field in UNKNOWN])
async def test_unknown_field_is_refused_at_every_level(
    body: Json, field: str, running: Fathom
) -> None:
    """A misspelt budget must not be an absent one."""
    problem = await _refused(running, body)
    assert [fault["message"] for fault in problem["errors"] if fault["field"].endswith(field)] == [
        "Extra inputs are not permitted"
    ]


async def test_every_invalid_value_is_refused_by_its_field(running: Fathom) -> None:
    """One request each, one gateway for all: type, range, form and size."""
    for body, field in INVALID:
        response = await running.client.post("/v1/solve", json=body)
        assert response.status_code == 422, (body, response.text)
        fields = [fault["field"] for fault in response.json()["errors"]]
        assert any(field in named for named in fields), (body, fields)
        assert response.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ['"temperature"', '"search":{"target_score"'])
async def test_numbers_that_are_none_are_refused(number: str, field: str, running: Fathom) -> None:
    """They are no JSON, and no answer could carry them back."""
    close = "}}" if field.startswith('"search"') else "}"
    content = f'{{"input":"2 + 2?",{field}:{number}{close}'
    response = await _post(running.client, content.encode())
    assert response.status_code in {400, 422}, response.text


async def test_last_message_must_be_the_users(running: Fathom) -> None:
    """Otherwise there is nothing to answer."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    problem = await _refused(running, {"input": turns})
    assert "last message must be the user's" in problem["detail"]


async def test_expert_named_twice_is_refused(running: Fathom) -> None:
    """It would be drawn for twice as often."""
    problem = await _refused(running, _with(experts=["cheap", "cheap"]))
    assert "named twice" in problem["detail"]


async def test_search_without_an_evaluator_is_refused(running: Fathom) -> None:
    """It would have nothing to climb by."""
    problem = await _refused(running, _with(mode="search"))
    assert problem["errors"][0]["field"] == "evaluators"


@pytest.mark.parametrize(
    ("evaluators", "field"),
    [
        ([EVALUATOR, EVALUATOR], "evaluators"),
        (
            [{"type": "json_schema", "config": {"schema": {"$ref": "https://elsewhere.test/s"}}}],
            "evaluators.0.config.schema",
        ),
        ([{"type": "exact", "config": {"expected": " "}}], "evaluators.0.config.expected"),
    ],
    ids=["two of one id", "a reference to elsewhere", "nothing to match"],
)
async def test_evaluators_that_cannot_be_built_are_refused_before_anything_is_held(
    evaluators: list[Json], field: str, running: Fathom
) -> None:
    """What form alone cannot tell is found before there is a solve to leave behind."""
    problem = await _refused(running, _with(evaluators=evaluators))
    assert problem["errors"][0]["field"] == field


async def _post(
    client: httpx.AsyncClient,
    content: bytes | AsyncIterable[bytes],
    kind: str | None = "application/json",
) -> httpx.Response:
    headers = {} if kind is None else {"Content-Type": kind}
    return await client.post("/v1/solve", content=content, headers=headers)


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "application/json", 400, "malformed"),
        (b"{", "application/json", 400, "malformed"),
        (b'{"input": "a",}', "application/json", 400, "malformed"),
        (b'{"input": "\xff"}', "application/json", 400, "malformed"),
        (b'{"input": "\\ud800"}', "application/json", 400, "malformed"),
        (b"[" * 100_000, "application/json", 400, "malformed"),
        (b"null", "application/json", 422, "validation"),
        (b"[]", "application/json", 422, "validation"),
        (b'{"input": "a"}', None, 415, "unsupported-media-type"),
        (b'{"input": "a"}', "text/plain", 415, "unsupported-media-type"),
        (b"input=a", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
    ],
)
async def test_body_that_is_not_a_json_object_is_refused(
    content: bytes, kind: str | None, status: int, code: str, running: Fathom
) -> None:
    """Malformed, another type, or another shape: each its own status."""
    response = await _post(running.client, content, kind)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"]
)
async def test_json_by_any_of_its_names_is_read(kind: str, running: Fathom) -> None:
    """The type's parameters and case say nothing of the body."""
    response = await _post(running.client, b'{"input": ""}', kind)
    assert response.status_code == 422


async def test_body_is_read_up_to_four_mebibytes(running: Fathom) -> None:
    """One byte more is 413, in one piece or in many, and whatever its length header says."""

    async def pieces(size: int) -> AsyncGenerator[bytes]:
        for _ in range(size // MIB):
            yield b" " * MIB
        yield b" " * (size % MIB)

    head = b'{"input": 7}'
    fits = await _post(running.client, head.ljust(4 * MIB))
    assert fits.status_code == 422
    for too_large in (head.ljust(4 * MIB + 1), pieces(5 * MIB)):
        response = await _post(running.client, too_large)
        assert (response.status_code, response.json()["code"]) == (413, "body-too-large")


async def test_a_text_that_no_database_can_keep_is_refused(sqlite_url: str) -> None:
    """422 before anything is held, wherever the NUL is."""
    async with fathom(sqlite_url, unexpected) as gateway:
        for body in (_with(input="a NUL: \0"), _with(metadata={"a": "\0"})):
            refused = await gateway.client.post("/v1/solve", json=body)
            assert refused.status_code == 422
            assert "NUL" in refused.json()["detail"]


async def test_a_text_about_nul_is_no_nul(sqlite_url: str) -> None:
    """A backslash and u0000, as six characters, is a text like any other."""
    async with fathom(sqlite_url, reply("yes", input_tokens=1, output_tokens=1)) as gateway:
        response = await gateway.solve(input=r"What does \u0000 mean?", mode="single")
        assert response.status_code == 200
