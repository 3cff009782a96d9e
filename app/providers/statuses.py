"""What a vendor's HTTP status means for the caller: try again, or do not.

The table is common to the wire formats; the sources are the vendors' pages on errors
(developers.openai.com/api/docs/guides/error-codes) and RFC 9110. Nothing that a vendor wrote is
passed on but a code made of lower-case words: its messages quote prompts, and parts of keys.
"""

import math
import re
from collections.abc import Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from app.providers.completion import (
    ProviderError,
    ProviderInvalidResponse,
    ProviderRefused,
    ProviderUnavailable,
)
from app.providers.endpoint import HttpReply

KEY_REFUSED: Final = frozenset({401, 403})
NOT_NOW: Final = frozenset({408, 409, 425, 429})
"""Refused before any work, for a reason that passes: a repetition of the same request may do."""

CODE: Final = re.compile(r"[a-z]+(_[a-z]+){0,7}")


def fault(name: str, reply: HttpReply, *, not_now: Collection[int] = NOT_NOW) -> ProviderError:
    """The error that a reply of any status but 200 is; `name` is the provider's.

    `not_now` are the statuses of a vendor that refuses before any work, for a reason that passes.
    A 5xx may come from a model that has worked already; a 3xx or 4xx comes from one that has not.
    """
    status = reply.status
    said = f"{name}: HTTP {status}{_code(reply.body)}"
    if status >= 500 or status in not_now:
        return ProviderUnavailable(
            said, may_have_worked=status not in not_now, retry_after_s=retry_after_s(reply)
        )
    if status in KEY_REFUSED:
        return ProviderRefused(
            f"{said}: our key is not accepted, or may not do this", may_have_worked=False
        )
    if 300 <= status < 400:
        return ProviderRefused(f"{said}: redirects are not followed", may_have_worked=False)
    if status >= 400:
        return ProviderRefused(said, may_have_worked=False)
    return ProviderInvalidResponse(f"{said}: a success without an answer")


def retry_after_s(reply: HttpReply) -> float | None:
    """How long the vendor asks us to wait, never negative; None when it does not say.

    `retry-after-ms` is OpenAI's and Azure's; `retry-after` is seconds or a date (RFC 9110, 10.2.3).
    """
    exact, common = reply.headers.get("retry-after-ms"), reply.headers.get("retry-after")
    for written, unit_s in ((exact, 0.001), (common, 1.0)):
        wait_s = _seconds(written, unit_s)
        if wait_s is not None:
            return wait_s
    return None


def _seconds(written: str | None, unit_s: float) -> float | None:
    if written is None:
        return None
    try:
        wait_s = float(written) * unit_s
    except ValueError:
        wait_s = _until(written)
    return max(0.0, wait_s) if math.isfinite(wait_s) else None


def _until(date: str) -> float:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    # A date without a zone is in GMT, the only one that HTTP knows.
    return (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


class _Said(msgspec.Struct):
    code: object = None
    type: object = None
    status: object = None


class _Error(msgspec.Struct):
    error: _Said


def _code(body: bytes) -> str:
    """` (context_length_exceeded)`, or nothing when the vendor gives no such word."""
    try:
        said = msgspec.json.decode(body, type=_Error).error
    except (ValueError, RecursionError):
        return ""
    for word in (said.code, said.type, said.status):
        # Google's are in capitals (google.rpc.Code).
        if isinstance(word, str) and len(word) <= 64 and CODE.fullmatch(word.lower()):
            return f" ({word.lower()})"
    return ""
