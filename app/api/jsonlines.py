"""A batch as it is sent: JSON Lines, read as they arrive, each checked before any is kept."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

import msgspec
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.api.body import BODY_BYTES_MAX
from app.api.problems import BodyTooLarge, InvalidLines, NotJson
from app.api.schemas import SolveBody
from app.errors import GatewayError, InvalidRequest
from app.ledger.batches import NewLine
from app.solve.request import SolveRequest, to_document

MEDIA_TYPES: Final = ("application/jsonl", "application/x-ndjson", "application/jsonlines")
BYTES_MAX: Final = 64 * 1024 * 1024
LINES_MAX: Final = 50_000
FAULTS_MAX: Final = 20
"""So many lines are named in a refusal; none is read behind them."""

PAUSE_EVERY: Final = 16
"""Lines between which others get their turn: a line takes some tenths of a millisecond."""


class BatchLineBody(BaseModel):
    """One request of a batch, under a name that its answer will have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    custom_id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
    method: Literal["POST"]
    url: Literal["/v1/solve"]
    body: SolveBody


@dataclass(slots=True)
class SentLines:
    """What has been read: the lines, the URLs of their webhooks, and the hash of every byte."""

    lines: list[NewLine] = field(default_factory=list[NewLine])
    webhooks: set[str] = field(default_factory=set[str])
    sha256: str = ""


async def read_lines(request: Request, check: Callable[[SolveRequest], None]) -> SentLines:
    """Every line of the body, or a refusal that names the first bad ones by their numbers.

    `check` refuses what is well formed and cannot be carried out. Raises NotJson, BodyTooLarge or
    InvalidLines.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise NotJson(f"send the lines as {MEDIA_TYPES[0]}")
    sent, digest = SentLines(), hashlib.sha256()
    faults: list[tuple[str, str]] = []
    names: dict[str, int] = {}
    number = 0
    async for line in _split(request, digest.update):
        number += 1
        if number % PAUSE_EVERY == 0:
            await asyncio.sleep(0)
        if not line.strip():
            continue
        if len(sent.lines) == LINES_MAX:
            raise InvalidLines([(f"line {number}", f"a batch has at most {LINES_MAX} lines")])
        try:
            sent.lines.append(_line(line, number, names, check, sent.webhooks))
        except _BadLine as bad:
            faults += [(f"line {number}{where}", said) for where, said in bad.faults]
        if len(faults) >= FAULTS_MAX:
            break
    if faults:
        raise InvalidLines(faults[:FAULTS_MAX])
    if not sent.lines:
        raise InvalidLines([("line 1", "a batch has at least one line")])
    return replace(sent, sha256=digest.hexdigest())


class _BadLine(Exception):
    """What is wrong with a line: (`: field` or nothing, message)."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.faults = faults


def _line(
    line: bytes,
    number: int,
    names: dict[str, int],
    check: Callable[[SolveRequest], None],
    webhooks: set[str],
) -> NewLine:
    try:
        sent = BatchLineBody.model_validate_json(line)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise _BadLine([(_where(fault["loc"]), fault["msg"]) for fault in faults]) from None
    if (first := names.setdefault(sent.custom_id, number)) != number:
        raise _BadLine([(": custom_id", f"is that of line {first}, too")])
    for name in ("background", "store", "include"):
        if name in sent.body.model_fields_set:
            raise _BadLine([(f": body.{name}", "has no meaning in a batch")])
    asked = replace(sent.body.to_request(), background=True)
    try:
        check(asked)
    except InvalidRequest as refusal:
        raise _BadLine([(f": body.{refusal.field}", refusal.detail)]) from None
    except GatewayError as refusal:
        raise _BadLine([("", str(refusal))]) from None
    if asked.webhook is not None:
        webhooks.add(asked.webhook.url)
    return NewLine(sent.custom_id, msgspec.json.encode(to_document(asked)).decode())


def _where(place: Sequence[int | str]) -> str:
    named = ".".join(str(part) for part in place)
    return f": {named}" if named else ""


async def _split(request: Request, hashed: Callable[[bytes], None]) -> AsyncGenerator[bytes]:
    size, rest = 0, bytearray()
    async for chunk in request.stream():
        size += len(chunk)
        if size > BYTES_MAX:
            raise BodyTooLarge(f"a batch must be at most {BYTES_MAX} bytes")
        hashed(chunk)
        rest += chunk
        *whole, last = rest.split(b"\n")
        for line in whole:
            yield bytes(line)
        rest = last
        if len(rest) > BODY_BYTES_MAX:
            raise BodyTooLarge(f"a line must be at most {BODY_BYTES_MAX} bytes")
    yield bytes(rest)
