"""Reading a request body: bounded, JSON only, and validated straight from its bytes."""

from typing import Final, TypeVar

from fastapi import Request
from pydantic import BaseModel

from app.api.problems import BodyTooLarge, NotJson

BODY_BYTES_MAX: Final = 4 * 1024 * 1024

T = TypeVar("T", bound=BaseModel)


async def read_body(request: Request, schema: type[T]) -> T:
    """The body as `schema`. Raises NotJson, BodyTooLarge, or pydantic's ValidationError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise NotJson("send the body as application/json")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise BodyTooLarge(f"the body must be at most {BODY_BYTES_MAX} bytes")
        chunks.append(chunk)
    return schema.model_validate_json(b"".join(chunks))
