"""What the OpenAPI document says of refusals: one schema, one content type, for every route."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """A part of the request that does not fit."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """Why a request was refused, as RFC 9457 has it; the last members only where they apply."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(examples=["urn:fathom:problem:budget-exhausted"])
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="What to branch on.", examples=["budget-exhausted"])
    request_id: str | None
    retryable: bool = Field(description="Whether the same request may succeed later.")
    errors: list[Fault] = Field(default=[], description="Every fault of the request.")
    solve_id: str | None = Field(None, description="The solve that failed.")
    spent_usd: str | None = Field(None, description="What that solve cost.")
    scope: str | None = Field(None, description="The budget or bound that has no room.")
    limit: str | None = Field(None, description="The count that is reached.")
    remaining_usd: str | None = Field(None, description="What that budget has left.")
    needed_usd: str | None = None
    resets_at: int | None = Field(None, description="Unix time at which it starts anew.")


PROBLEM_NAME: Final = "Problem"

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "A refusal.",
        "content": {
            "application/problem+json": {"schema": {"$ref": f"#/components/schemas/{PROBLEM_NAME}"}}
        },
    }
}
"""The responses of a router; with a default of its own, no route is given the framework's 422."""


def schemas_of(model: type[BaseModel], name: str) -> dict[str, Any]:
    """The model's schema under its name, and beside it those that it refers to."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), name: schema}
