"""Reading a request body: bounded, JSON only, kept as the bytes that were sent."""

import hashlib
from typing import Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.presence import CLIENT_LEFT
from app.api.problems import BodyTooLarge, NotJson
from app.errors import InvalidRequest
from app.ledger.idempotency import IdempotencyKey

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
KEY_LENGTH_MAX: Final = 255


async def read_body(request: Request) -> bytes:
    """The body's bytes. Raises NotJson or BodyTooLarge, and CLIENT_LEFT where it never comes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise NotJson("send the body as application/json")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > BODY_BYTES_MAX:
                raise BodyTooLarge(f"the body must be at most {BODY_BYTES_MAX} bytes")
            chunks.append(chunk)
    except ClientDisconnect:
        raise HTTPException(CLIENT_LEFT, "the client has left") from None
    return b"".join(chunks)


def idempotency_key(request: Request, body: bytes) -> IdempotencyKey | None:
    """The caller's key with the hash of its body. Raises InvalidRequest for a malformed one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not (key.isascii() and key.isprintable()):
        raise InvalidRequest("Idempotency-Key", f"1 to {KEY_LENGTH_MAX} printable ASCII characters")
    return IdempotencyKey(key, hashlib.sha256(body).hexdigest())
