"""Everything that an upstream may do instead of answering, and what must come of each.

The rule on money, in short: who refuses before any work costs nothing; where a model may have
worked and nobody says for how much, the tenant pays nothing and the worst case waits in suspense;
what the vendor reports is paid, answer or not; an answer without a report costs what we count.
"""

import json
from dataclasses import dataclass, field
from typing import Final

from app.ledger.price import Price
from app.money import NanoUSD, from_usd
from app.providers.endpoint import REPLY_BYTES_MAX
from tests.gateway import Json
from tests.providers.upstream import Act, Part, completion, error, respond

ATTEMPTS_MAX: Final = 3
PRICE: Final = Price("acme", "faulty", input=from_usd("1"), output=from_usd("10"))
REPORTED: Final = PRICE.cost(19, 10)
"""What the usage of `completion()` comes to."""

RIGHT: Final = "391"
GOOD: Final = respond(completion(RIGHT))
WHOLE: Final = json.dumps(completion(RIGHT)).encode()


@dataclass(frozen=True)
class Fault:
    """What a model does with its calls, the last of them for good; and what must come of it.

    `calls` is how many are made of it. `says` is how the failure is named, None where there is
    none. `charged` is what the tenant pays, None for our own count of an answer without usage.
    `unknown` is how many calls the vendor may yet charge for, at their worst.
    """

    name: str
    does: tuple[Act, ...]
    status: int
    code: str | None
    calls: int
    says: str | None
    charged: NanoUSD | None = NanoUSD(0)
    unknown: int = 0
    expert: str = "faulty"
    body: Json = field(default_factory=dict[str, object])


def passing(
    name: str, does: Act, says: str, *, calls: int = ATTEMPTS_MAX, unknown: int = 0
) -> Fault:
    """A fault that might pass, but does not."""
    return Fault(name, (does,), 503, "upstream-unavailable", calls, says, unknown=unknown)


def final(
    name: str, does: Act, says: str, *, charged: NanoUSD = NanoUSD(0), unknown: int = 0
) -> Fault:
    """A fault that asking again would not mend."""
    code = "upstream-invalid-response"
    return Fault(name, (does,), 502, code, 1, says, charged=charged, unknown=unknown)


def refusal(status: int, code: str) -> Fault:
    """A refusal for good, before any work."""
    does = respond(error("no", code), status=status)
    return final(f"{status} always", does, f"HTTP {status} ({code})")


def once(name: str, does: Act, says: str, *, unknown: int = 0) -> Fault:
    """A fault that has passed when the model is asked again."""
    return Fault(name, (does, GOOD), 200, None, 2, says, charged=REPORTED, unknown=unknown)


def answer(name: str, does: Act, *, charged: NanoUSD | None = None) -> Fault:
    """An answer with a flaw."""
    return Fault(name, (does,), 200, None, 1, None, charged=charged)


def busy(**headers: str) -> bytes:
    """A refusal for now."""
    document = error("slow down", "rate_limit_exceeded")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return respond(document, status=429, headers=named)


def called(media_type: str, body: bytes) -> bytes:
    """A success of another media type than was asked for."""
    return respond(body=body, headers={"content-type": media_type})


BROKEN: Final = error("sorry", "server_error", kind="server_error")
FAILS: Final = respond(BROKEN, status=500)
SILENT: Final = Part(b"", then="silence")
CUT: Final = Part(GOOD[:-9])
PAGE: Final = b"<!doctype html><title>Just a moment</title>"
STREAM: Final = b'data: {"choices":[{"delta":{"content":"391"}}]}\n\ndata: [DONE]\n\n'
ENDLESS: Final = respond(body=b" " * (REPLY_BYTES_MAX + 1) + WHOLE)
UNMETERED: Final = {name: value for name, value in completion(RIGHT).items() if name != "usage"}
TOOL_CALL: Final = respond(completion(None, finish_reason="tool_calls"))

LIMITED: Final = "HTTP 429 (rate_limit_exceeded)"
FAILED: Final = "HTTP 500 (server_error)"
HUNG_UP: Final = "the connection was closed before the answer ended"
UNREADABLE: Final = "HTTP 200 without a chat completion in it"
TOO_LONG: Final = f"a reply of more than {REPLY_BYTES_MAX} bytes"

FAULTS: Final = [
    # -- Refused before any work
    passing("429 always", busy(), LIMITED),
    passing("429 always, come back at once", busy(retry_after="0"), LIMITED),
    passing("429 always, come back in an hour", busy(retry_after="3600"), LIMITED, calls=1),
    once("429 once", busy(), LIMITED),
    once("429 once, come back at once", busy(retry_after="0"), LIMITED),
    refusal(400, "invalid_value"),
    refusal(401, "invalid_api_key"),
    refusal(404, "model_not_found"),
    # -- No answer, though a model may have worked
    passing("500 always", FAILS, FAILED, unknown=ATTEMPTS_MAX),
    once("500 once", FAILS, FAILED, unknown=1),
    Fault(
        name="silence",
        does=(SILENT,),
        status=503,
        code="upstream-unavailable",
        calls=ATTEMPTS_MAX,
        says="nothing more came in time",
        unknown=ATTEMPTS_MAX,
        expert="impatient",
    ),
    Fault(
        name="silence until the deadline",
        does=(SILENT,),
        status=504,
        code="deadline-no-answer",
        calls=1,
        says="",  # the call's own clock and the solve's ring together
        unknown=1,
        body={"budget": {"deadline_ms": 3_000}},
    ),
    passing("hangs up before a status", Part(b""), HUNG_UP, unknown=ATTEMPTS_MAX),
    passing("hangs up in the body", CUT, HUNG_UP, unknown=ATTEMPTS_MAX),
    once("hangs up once", CUT, HUNG_UP, unknown=1),
    final("truncated JSON", respond(body=WHOLE[:-20]), UNREADABLE, unknown=1),
    final("HTML with status 200", called("text/html", PAGE), UNREADABLE, unknown=1),
    final("a stream", called("text/event-stream", STREAM), UNREADABLE, unknown=1),
    final("an oversized body", ENDLESS, TOO_LONG, unknown=1),
    final("an error with status 200", respond(BROKEN), "an error instead of an answer", unknown=1),
    final("no choices, no usage", respond({"choices": []}), "no choices", unknown=1),
    # -- No answer, but a bill for it
    final("no choices", respond(completion(choices=[])), "no choices", charged=REPORTED),
    final("null content", respond(completion(None)), "with no text", charged=REPORTED),
    final("a tool call", TOOL_CALL, "the model did not finish its answer", charged=REPORTED),
    # -- An answer all the same
    answer("no usage", respond(UNMETERED)),
    answer("usage null", respond(completion(RIGHT, usage=None))),
    answer("usage that says nothing", respond(completion(RIGHT, usage={}))),
    answer("JSON called text", called("text/plain", WHOLE), charged=REPORTED),
]
