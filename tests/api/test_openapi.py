"""The published contract: it resolves, it is whole, and what it shows as an example runs."""

import json
from collections.abc import Iterator

import jsonschema_rs
from pydantic import JsonValue

from app.providers.scripted import reply
from tests.gateway import Fathom, Json, fathom, unexpected


async def _document(running: Fathom) -> Json:
    response = await running.client.get("/openapi.json")
    assert response.status_code == 200
    document: Json = response.json()
    return document


def _references(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref":
                yield str(part)
            elif key == "mapping" and isinstance(part, dict):
                yield from map(str, part.values())
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _resolve(document: Json, reference: str) -> Json:
    """What a reference points to; KeyError where that is not in the document."""
    found: Json = document
    assert reference.startswith("#/"), reference
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


async def test_every_reference_resolves_inside_the_document(sqlite_url: str) -> None:
    """A client generator follows them all."""
    async with fathom(sqlite_url, unexpected) as running:
        document = await _document(running)
        references = set(_references(document))
        assert len(references) > 10
        for reference in references:
            _resolve(document, reference)


def _request_schema(document: Json) -> Json:
    """The schema of the request's body, able to stand alone."""
    body = document["paths"]["/v1/solve"]["post"]["requestBody"]
    schema: Json = body["content"]["application/json"]["schema"]
    return schema | {"components": document["components"]}


async def test_examples_of_the_request_are_valid_and_run(sqlite_url: str) -> None:
    """What a reader copies first must work."""
    async with fathom(sqlite_url, reply("391")) as running:
        document = await _document(running)
        schema = _request_schema(document)
        examples: list[Json] = _resolve(document, schema["anyOf"][0]["$ref"])["examples"]
        assert examples
        for example in examples:
            jsonschema_rs.validator_for(schema).validate(example)
            response = await running.client.post("/v1/solve", json=example)
            assert response.status_code == 200, response.text


REFUSED: list[tuple[str, str, Json | None]] = [
    ("POST", "/v1/solve", {"input": "a", "budgett": {}}),
    ("POST", "/v1/solve", {"input": "a", "budget": {"max_cost_usd": "0.000001"}}),
    ("GET", "/v1/solves/slv_1", None),
    ("GET", "/v1/usage?start=yesterday", None),
]

BODIES: list[tuple[Json, bool]] = [
    ({"input": "a"}, True),
    ({"input": "a", "budget": {"max_cost_usd": "0.10"}}, True),
    ({"input": "a", "budget": {"max_cost_usd": 0.1}}, False),
    ({"input": "a", "budgett": {}}, False),
    ({"input": "a", "search": {"max_nodes": 1_000}}, False),
    ({"input": "a", "evaluators": [{"type": "exact", "config": {"expected": "b"}}]}, True),
    ({"input": "a", "evaluators": [{"type": "exact", "config": {}}]}, False),
    ({"replay_of": "slv_1", "input": "a"}, False),
]


async def test_published_schema_says_what_is_accepted(sqlite_url: str) -> None:
    """As the service itself does."""
    async with fathom(sqlite_url, reply("b")) as running:
        schema = jsonschema_rs.validator_for(_request_schema(await _document(running)))
        for body, valid in BODIES:
            assert schema.is_valid(body) is valid, body
            response = await running.client.post("/v1/solve", json=body)
            assert (response.status_code == 200) is valid, body


async def test_document_is_openapi_and_lists_every_route(sqlite_url: str) -> None:
    """3.1, with the routes that the contract promises and their operations' names."""
    async with fathom(sqlite_url, unexpected) as running:
        document = await _document(running)
        assert document["openapi"].startswith("3.1")
        assert document["info"]["title"] == "Fathom"
        assert document["paths"].keys() >= {
            "/healthz",
            "/v1/solve",
            "/v1/solve/estimate",
            "/v1/solves/{solve_id}",
            "/v1/solves/{solve_id}/tree",
            "/v1/solves/{solve_id}/resume",
            "/v1/solves",
        }
        operations = [
            o["operationId"] for path in document["paths"].values() for o in path.values()
        ]
        assert len(set(operations)) == len(operations)
        json.dumps(document, allow_nan=False)


async def test_every_refusal_is_published_as_the_problem_that_it_is(sqlite_url: str) -> None:
    """One schema for all of them, which what is really sent fits; none of the framework's own."""
    async with fathom(sqlite_url, unexpected) as running:
        document = await _document(running)
        assert "ValidationError" not in str(document)
        refusals = [
            answer
            for path, operations in document["paths"].items()
            for operation in operations.values()
            for status, answer in operation["responses"].items()
            if path.startswith("/v1/") and not status.startswith("2")
        ]
        assert len(refusals) >= sum(path.startswith("/v1/") for path in document["paths"])
        for answer in refusals:
            (kind,) = answer["content"]
            assert kind == "application/problem+json"
            assert answer["content"][kind]["schema"] == {"$ref": "#/components/schemas/Problem"}
        problem = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
        schema = jsonschema_rs.validator_for(problem)
        for method, path, body in REFUSED:
            response = await running.client.request(method, path, json=body)
            assert response.is_client_error
            schema.validate(response.json())


async def test_document_says_that_a_key_is_needed(sqlite_url: str) -> None:
    """By the name under which `/docs` asks for one."""
    async with fathom(sqlite_url, unexpected) as running:
        document = await _document(running)
        (name,) = document["components"]["securitySchemes"]
        assert document["components"]["securitySchemes"][name]["scheme"] == "bearer"
        assert document["paths"]["/v1/solve"]["post"]["security"] == [{name: []}]
        assert "security" not in document["paths"]["/healthz"]["get"]


async def test_docs_are_served(sqlite_url: str) -> None:
    """For a person to read."""
    async with fathom(sqlite_url, unexpected) as running:
        response = await running.client.get("/docs")
        assert response.status_code == 200
        assert "/openapi.json" in response.text


async def test_health_needs_no_key(sqlite_url: str) -> None:
    """A probe has none."""
    async with fathom(sqlite_url, unexpected) as running:
        running.client.headers.pop("Authorization")
        response = await running.client.get("/healthz")
        assert response.status_code == 200
        assert response.json()["status"] == "ok"
