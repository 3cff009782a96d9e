"""A request as it is stored: what was asked for comes back as it was, evaluators and all."""

import json

from app.api.schemas import SolveBody
from app.solve.request import request_from, to_document
from tests.gateway import Json

FULL: Json = {
    "input": [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ],
    "instructions": "Be brief.",
    "mode": "search",
    "experts": ["cheap", "strong"],
    "gate": {"value_usd": "0.25", "second_opinion": "always"},
    "search": {
        "algorithm": "ab_mcts_a_beta",
        "max_nodes": 5,
        "max_depth": 3,
        "concurrency": 2,
        "target_score": 0.9,
        "patience": 4,
    },
    "evaluators": [
        {"type": "exact", "config": {"expected": ["4", "four"]}, "weight": 2, "required": True},
        {"type": "expression", "config": {"numbers": [1, "2.5"], "target": 4, "use": "any"}},
        {"type": "numeric", "config": {"expected": "4"}, "pass_score": 0.5},
        {"type": "json_schema", "config": {"schema": {"type": "object"}}},
    ],
    "combine": "cascade",
    "budget": {
        "max_cost_usd": "0.123456789",
        "max_total_tokens": 10_000,
        "max_calls": 9,
        "deadline_ms": 5_000,
        "on_exhausted": "fail",
    },
    "max_output_tokens": 300,
    "temperature": 0.5,
    "seed": 42,
    "store": False,
    "answer": {"extract": "boxed"},
    "metadata": {"category": "sums"},
}


def test_stored_request_comes_back_as_it_was() -> None:
    """Through JSON text, as the database keeps it."""
    request = SolveBody.model_validate(FULL).to_request()
    assert request_from(json.loads(json.dumps(to_document(request)))) == request


def test_every_field_of_the_body_reaches_the_request() -> None:
    """A field that is parsed and then dropped would be a promise broken in silence."""
    plain: Json = {"input": "a\nb", "seed": 1}
    default = to_document(SolveBody.model_validate(plain).to_request())
    for name, value in FULL.items():
        if name in {"evaluators", "combine"}:
            continue
        body = (
            plain | {name: value} | ({"evaluators": FULL["evaluators"]} if name == "mode" else {})
        )
        changed = to_document(SolveBody.model_validate(body).to_request())
        assert changed != default, name
    both = {"evaluators": FULL["evaluators"], "combine": "any"}
    assert to_document(SolveBody.model_validate(plain | both).to_request())["panel"] is not None


def test_parts_of_a_message_are_joined_line_by_line() -> None:
    """The problem is the last turn, as evaluators and recordings see it."""
    request = SolveBody.model_validate(FULL).to_request()
    assert request.problem == "a\nb"
    assert [turn.role for turn in request.turns] == ["system", "user"]


def test_seed_is_drawn_where_none_is_given() -> None:
    """And differs from request to request."""
    body = SolveBody.model_validate({"input": "a"})
    assert body.to_request().seed != body.to_request().seed
