"""A provider that does what it is told: for tests, and for trying a solve without a model.

A `Script` decides each answer from the request; `by_op`, `in_turn` and `held` make the usual ones
and can be put inside one another. Nothing here is drawn at random, and no time passes but a wait
that the script asks for, which the deadline bounds as it would a real call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase

from app.providers.completion import (
    Completion,
    CompletionRequest,
    FinishReason,
    ProviderError,
    ProviderUnavailable,
    Usage,
)

Answer = Completion | ProviderError
Script = Callable[[CompletionRequest], Answer | Awaitable[Answer]]


def reply(
    text: str,
    *,
    input_tokens: int = 10,
    output_tokens: int = 5,
    finish_reason: FinishReason = FinishReason.STOP,
) -> Completion:
    """An answer as a well-behaved provider would give it."""
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return Completion(text, finish_reason, usage, returned_model="scripted")


def by_op(answers: Mapping[str, Answer | Script]) -> Script:
    """Answer by the first pattern, such as `gate.*`, that matches the op; LookupError if none."""

    def script(request: CompletionRequest) -> Answer | Awaitable[Answer]:
        for pattern, answer in answers.items():
            if fnmatchcase(request.op, pattern):
                return _play(answer, request)
        raise LookupError(f"no answer is scripted for op {request.op!r}")

    return script


def in_turn(*answers: Answer | Script) -> Script:
    """Answer the n-th call with the n-th answer, in order of arrival; LookupError past the last."""
    remaining = iter(answers)

    def script(request: CompletionRequest) -> Answer | Awaitable[Answer]:
        for answer in remaining:
            return _play(answer, request)
        raise LookupError(f"only {len(answers)} answers are scripted, and all are given")

    return script


def held(until: asyncio.Event, answer: Answer | Script) -> Script:
    """Keep every call waiting, as a slow model does, until the event is set; then answer."""

    async def script(request: CompletionRequest) -> Answer:
        await until.wait()
        return await _outcome(answer, request)

    return script


class ScriptedProvider:
    """Answers by script and remembers what it was asked.

    `requests` lists every call in order of arrival, `in_flight` and `max_in_flight` count the calls
    that run at once, `cancelled` those whose caller went away (a missed deadline is not one).
    """

    def __init__(self, script: Answer | Script) -> None:
        self.requests: list[CompletionRequest] = []
        self.in_flight = self.max_in_flight = self.cancelled = 0
        self.is_closed = False
        self._script, self._arrival = script, asyncio.Event()

    async def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Answer or fail as scripted, or be unavailable once `deadline_s` seconds are over."""
        self.requests.append(request)
        self._arrival.set()
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            answer = await self._within(deadline_s, request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if isinstance(answer, ProviderError):
            # One error may be scripted for many calls: each starts with a traceback of its own.
            raise answer.with_traceback(None)
        return answer

    async def arrived(self, count: int, *, timeout_s: float = 5.0) -> None:
        """Wait until `count` calls have come in, in all; TimeoutError if they do not."""
        async with asyncio.timeout(timeout_s):
            while len(self.requests) < count:
                self._arrival.clear()
                await self._arrival.wait()

    async def aclose(self) -> None:
        """Remember it, so that a test can tell."""
        self.is_closed = True

    async def _within(self, deadline_s: float, request: CompletionRequest) -> Answer:
        deadline = asyncio.timeout(deadline_s)
        try:
            async with deadline:
                # A real call always gives way at least once, so calls overlap here too.
                await asyncio.sleep(0)
                return await _outcome(self._script, request)
        except TimeoutError:
            if not deadline.expired():
                raise
            return ProviderUnavailable(f"no answer within {deadline_s:g} s", may_have_worked=True)


def _play(answer: Answer | Script, request: CompletionRequest) -> Answer | Awaitable[Answer]:
    return answer if isinstance(answer, Completion | ProviderError) else answer(request)


async def _outcome(answer: Answer | Script, request: CompletionRequest) -> Answer:
    outcome = _play(answer, request)
    return outcome if isinstance(outcome, Completion | ProviderError) else await outcome
