"""Asks a gateway over HTTP: what a request would cost, and the request itself, paid for once.

The one thing that is tried again is what the gateway has not begun, because it is busy, about to
end, or still at the same request.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import httpx

from app.errors import GatewayError
from app.evaluation.strategies import LIMIT

Json = dict[str, Any]
PATIENCE_S: Final = 120.0
"""How long a gateway that is busy is asked again."""

TIMEOUT_S: Final = 660.0
"""A solve has a deadline of its own, of ten minutes at most."""

RETRY_S: Final = 1.0
EXHAUSTED: Final = "budget-exhausted"
NO_ANSWER: Final = frozenset({"deadline-no-answer", EXHAUSTED})
"""Problems that say the bound was too tight for any answer: a wrong one, at what it cost."""

OWN_BOUNDS: Final = frozenset({"request", *LIMIT.values()})
"""What the gateway calls the bounds that a request set itself."""

MEMBERS: Final = frozenset({"status", "code", "detail", "retryable"})
"""What is read of a problem here."""


class ComparisonStopped(GatewayError):
    """The gateway refuses, or is not there: nothing more can be compared."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A solve object, or the problem instead of one; `ms` is how long it took to come.

    `is_again` where it was paid for before, and only read now.
    """

    document: Json
    is_solve: bool
    ms: float
    is_again: bool = False

    @property
    def is_unanswerable(self) -> bool:
        """Whether the request's own bound left no room for an answer."""
        return not self.is_solve and self.document["code"] in NO_ANSWER


class Asking:
    """A client of one gateway."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def estimate(self, key: str, body: Mapping[str, Any]) -> Json:
        """What a request would hold and may cost. Raises ComparisonStopped where it is refused."""
        response = await self._post("/v1/solve/estimate", body, _headers(key))
        document = _document(response)
        if response.is_error:
            raise ComparisonStopped(_said(document))
        return document

    async def solve(self, key: str, body: Mapping[str, Any], *, idempotency_key: str) -> Reply:
        """The solve, or the problem that it failed with.

        Raises ComparisonStopped where the gateway would answer no other request either.
        """
        headers = _headers(key) | {"Idempotency-Key": idempotency_key}
        started = perf_counter()
        while True:
            asked = perf_counter()
            response = await self._post("/v1/solve", body, headers)
            document, ms = _document(response), (perf_counter() - asked) * 1000
            if not response.is_error:
                again = "Idempotency-Replayed" in response.headers
                return Reply(document, is_solve=True, ms=ms, is_again=again)
            if _is_own_bound(document) or _has_failed(document):
                return Reply(document, is_solve=False, ms=ms)
            if not document["retryable"] or perf_counter() - started > PATIENCE_S:
                raise ComparisonStopped(_said(document))
            await asyncio.sleep(float(response.headers.get("Retry-After", RETRY_S)))

    async def _post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> httpx.Response:
        try:
            return await self._client.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            why = f"{self._client.base_url}: {str(error) or type(error).__name__}"
            raise ComparisonStopped(f"{why}; is `fathom serve` running?") from None


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _is_own_bound(problem: Json) -> bool:
    # A tenant's budget that is exhausted is another matter: every later task would fail by it.
    return problem["code"] == EXHAUSTED and problem.get("scope") in OWN_BOUNDS


def _has_failed(problem: Json) -> bool:
    return "spent_usd" in problem and problem["code"] != EXHAUSTED


def _document(response: httpx.Response) -> Json:
    try:
        document: Json = response.json()
        if response.is_error and not document.keys() >= MEMBERS:
            raise ValueError("no problem of ours")
    except (ValueError, AttributeError):
        answered = f"HTTP {response.status_code} and not as a gateway would"
        raise ComparisonStopped(f"{response.url}: answered {answered}; is it Fathom?") from None
    return document


def _said(problem: Json) -> str:
    faults = [f"{fault['field']}: {fault['message']}" for fault in problem.get("errors", [])]
    return f"{problem['status']} {problem['code']}: {'; '.join(faults) or problem['detail']}"
