"""Form is checked as the schema says; a schema that reaches out or explodes is refused."""

from time import perf_counter

import pytest
from pydantic import JsonValue

from app.errors import InvalidRequest
from app.evaluators.json_schema import JsonSchema, JsonSchemaConfig
from tests.evaluators.judging import judge

PERSON: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]"},
        "born": {"type": "integer"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string"}},
}
TREE: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
    "additionalProperties": False,
}


def schema(document: dict[str, JsonValue]) -> JsonSchema:
    """An evaluator for a schema."""
    return JsonSchema(JsonSchemaConfig(schema=document))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"name": "Ada"}', 1.0),
        (' {"name": "Ada", "born": 1815, "tags": ["x"]}\n', 1.0),
        ("{}", 0.0),
        ('{"name": "ada"}', 0.0),
        ('{"name": "Ada", "tags": [1]}', 0.0),
        ('```json\n{"name": "Ada"}\n```', 0.0),
        ("Ada", 0.0),
        ("", 0.0),
    ],
)
async def test_bare_json_of_the_form_scores_one(text: str, wanted: float) -> None:
    """A fence around it is not what a client that parses the text can use."""
    assert (await judge(schema(PERSON), None, text)).score == wanted


async def test_the_extracted_answer_is_read_when_the_text_is_not_json() -> None:
    """If it is an object or a list; `5` in a sentence is no document."""
    assert (await judge(schema(PERSON), '{"name":"Ada"}', "<answer>…</answer>")).score == 1.0
    assert (await judge(schema({}), "5", "Answer: 5")).score == 0.0


async def test_feedback_names_the_first_faults_and_where_they_are() -> None:
    """Three at most, each with its path."""
    text = '{"name": 1, "born": "x", "tags": ["a", 2], "more": 1}'
    faults = (await judge(schema(PERSON), None, text)).feedback.split("; ")
    assert len(faults) == 3
    assert '$.born: "x" is not of type "integer"' in faults


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", "1e999", "[" * 100_000, "[" * 400 + "]" * 400, "9" * 10_000, '"\ud800"'],
    ids=["nan", "infinity", "huge", "unclosed", "deep", "digits", "surrogate"],
)
async def test_what_is_not_quite_json_scores_zero(text: str) -> None:
    """And is never an exception."""
    assert (await judge(schema({"type": "string"}), None, text)).score == 0.0


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ({"$ref": "http://169.254.169.254/"}, r"\$ref"),
        ({"$ref": "file:///etc/passwd"}, r"\$ref"),
        ({"$ref": "other.json#/a"}, r"\$ref"),
        ({"$ref": "#anchor"}, r"\$ref"),
        ({"items": {"anyOf": [True, {"$ref": "//evil.example"}]}}, r"\$ref"),
        ({"$dynamicRef": "http://evil.example"}, r"\$dynamicRef"),
        ({"$schema": "http://evil.example"}, r"\$schema"),
        ({"properties": {"a": {"$id": "http://evil.example"}}}, r"\$id"),
        ({"$ref": "#/$defs/none"}, "points at nothing"),
        ({"type": "objekt"}, "objekt"),
        ({"pattern": "(?=a)"}, "regex"),
    ],
)
def test_a_schema_that_reaches_out_or_is_malformed_is_refused(
    document: dict[str, JsonValue], detail: str
) -> None:
    """When it is built, by name of the field."""
    with pytest.raises(InvalidRequest, match=rf"config\.schema: .*{detail}"):
        schema(document)


def test_a_property_may_be_called_ref() -> None:
    """Only a reference's text is looked at."""
    schema({"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}})


def doubling(levels: int) -> dict[str, JsonValue]:
    """Definitions that each refer twice to the next."""
    definitions: dict[str, JsonValue] = {f"d{levels}": False}
    for level in range(levels):
        inner: JsonValue = {"$ref": f"#/$defs/d{level + 1}"}
        definitions[f"d{level}"] = {"anyOf": [{"items": inner}, {"maxItems": 3, "items": inner}]}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def chain(links: int) -> dict[str, JsonValue]:
    """Definitions that each refer to the next."""
    definitions: dict[str, JsonValue] = {
        f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(links)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{links}": True}}


def nested(levels: int) -> dict[str, JsonValue]:
    """A schema of many levels."""
    inner: dict[str, JsonValue] = {}
    for _ in range(levels):
        inner = {"not": inner}
    return inner


@pytest.mark.parametrize(
    "document",
    [doubling(30), chain(1_000), nested(100), {"enum": list(range(10_000))}],
    ids=["doubling", "chain", "nested", "large"],
)
def test_a_schema_that_is_dear_to_check_is_refused(document: dict[str, JsonValue]) -> None:
    """Small to write is not small to check."""
    with pytest.raises(InvalidRequest, match=r"config\.schema"):
        schema(document)


async def test_a_recursive_schema_is_checked_in_reasonable_time() -> None:
    """Its faults are not listed, because there can be exponentially many."""
    text = "0"
    for _ in range(60):
        text = f'{{"left": {text}, "right": {{}}}}'
    started = perf_counter()
    said = await judge(schema(TREE), None, text)
    assert (said.score, said.feedback) == (0.0, "does not match the schema")
    assert perf_counter() - started < 5


async def test_too_much_work_is_an_error_and_not_a_score() -> None:
    """A large schema on a very long text is not started."""
    large = schema({"enum": list(range(4_000))})
    said = await judge(large, None, " " * 30_000 + "1")
    assert said.score is None
    assert said.error == "the answer is too long for a schema of this size"
