"""Does the answer have the form that a JSON Schema asks for? It says nothing of being right.

Read is the whole text, which must be bare JSON, or else the extracted answer when that is a JSON
object or list. Patterns run on an engine without backtracking, references stay inside the schema.
"""

import json
import math
from collections.abc import Sequence
from itertools import islice

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.errors import InvalidRequest
from app.evaluators.evaluation import Candidate, Evaluation
from app.evaluators.schema_bounds import FIELD, bounds

ERRORS_MAX = 3
"""Errors that feedback names."""

MESSAGE_MAX = 200
"""Characters of each."""

WORK_MAX = 100_000_000
"""Expanded size of the schema times characters of the answer, above which nothing is checked."""

DETAIL_WORK_MAX = 2_000_000
"""The same, above which errors are not listed: the validator builds all of them at once."""


class JsonSchemaConfig(BaseModel):
    """The schema, in any of the dialects of 2020-12, 2019-09 and draft-07."""

    # By alias, so that what is stored reads as it was sent; pydantic keeps `schema` for itself.
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    json_schema: dict[str, JsonValue] = Field(
        alias="schema",
        description="A JSON Schema. Its references stay within it ('#' or '#/…'); patterns have "
        "neither look-around nor back-references.",
    )


class JsonSchema:
    """Scores 1.0 for JSON that the schema accepts, else 0.0."""

    def __init__(self, config: JsonSchemaConfig) -> None:
        size = bounds(config.json_schema)
        self._expanded, self._lists_errors = size.expanded, not size.is_recursive
        try:
            self._validator = jsonschema_rs.validator_for(
                config.json_schema,
                retriever=_refuse,
                pattern_options=jsonschema_rs.RegexOptions(),
            )
        except (ValueError, jsonschema_rs.ReferencingError) as refused:
            raise InvalidRequest(FIELD, _first_line(str(refused))) from refused

    async def evaluate(self, candidate: Candidate) -> Evaluation:
        """Validate the answer; feedback names the first few faults and where they are."""
        work = self._expanded * len(candidate.text)
        if work > WORK_MAX:
            return Evaluation(None, error="the answer is too long for a schema of this size")
        try:
            document = _document(candidate)
            if self._validator.is_valid(document):
                return Evaluation(1.0)
            return Evaluation(0.0, self._faults(document, work))
        except (ValueError, RecursionError) as fault:
            return Evaluation(0.0, f"not readable as JSON, bare and without a fence: {fault}")

    def _faults(self, document: JsonValue, work: int) -> str:
        if not self._lists_errors or work > DETAIL_WORK_MAX:
            return "does not match the schema"
        errors = islice(self._validator.iter_errors(document), ERRORS_MAX)
        return "; ".join(
            f"{_path(error.instance_path)}: {error.message[:MESSAGE_MAX]}" for error in errors
        )


def _refuse(uri: str) -> dict[str, JsonValue]:
    """Fetch nothing. A schema that gets here has passed `bounds`, so this is the second lock."""
    raise ValueError(f"{uri} is outside the schema")


def _document(candidate: Candidate) -> JsonValue:
    try:
        return _parse(candidate.text)
    except (ValueError, RecursionError):
        if candidate.answer is None or candidate.answer[:1] not in {"{", "["}:
            raise
        return _parse(candidate.answer)


def _parse(text: str) -> JsonValue:
    document: JsonValue = json.loads(text, parse_constant=_finite, parse_float=_finite)
    return document


def _finite(number: str) -> float:
    """A JSON number; NaN and infinity are Python's additions to JSON, and no answers."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:20]} is not a JSON number")
    return value


def _path(steps: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:MESSAGE_MAX]
