"""One upstream call, from its worst case to its charge: hold, intent, call, outcome.

The only retry loop there is. A provider never repeats a request whose bytes may have left, so every
charge has a journal row of its own. Everything that calls a model is handed `Attempts.complete`.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from app.db.engine import uninterrupted
from app.errors import GatewayError
from app.ids import SolveId
from app.ledger.endings import Loose
from app.ledger.journal import CUT_SHORT, CallResult, Intent, Told, TrialPlace
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.postings import CallState
from app.ledger.refusals import BudgetExceeded, ClaimLost, LimitReached, RateLimited
from app.money import NanoUSD
from app.providers.completion import (
    Completion,
    CompletionRequest,
    Draft,
    Message,
    Provider,
    ProviderError,
    ProviderUnavailable,
)
from app.solve.charging import answered, failed
from app.solve.meter import Draw, Meter
from app.solve.plan import Seat
from app.solve.prompts import fingerprint
from app.telemetry.traces import child_traceparent

FIRST: Final = "gate.first"
"""The op of the first answer, wherever a solve starts with one."""

STRONG: Final = "strong"
"""The op of the one call to the strong expert."""

ATTEMPTS_MAX: Final = 3
BACKOFF_S: Final = 0.25
LOOK_S: Final = 2.0
"""How often a call that waits for an operator's limit is tried: others may give back some."""


@dataclass(frozen=True, slots=True)
class CallLine:
    """One journalled attempt, as it appears on the bill. Tokens are None where unreported."""

    op: str
    attempt: int
    expert: str
    expert_version: str
    model: str
    price_version: str
    state: CallState
    cost: NanoUSD
    estimated: bool
    input_tokens: int | None
    output_tokens: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answered call; `cost` includes the attempts that failed before it."""

    op: str
    call_id: str
    seat: Seat
    completion: Completion
    cost: NanoUSD


@dataclass(frozen=True, slots=True)
class Past:
    """What a solve's journal had when it was taken over: its lines, and its replies by op.

    `failed` are ops that failed for good, where they are not to be tried again.
    """

    lines: Sequence[CallLine] = ()
    replies: Mapping[str, Reply] = field(default_factory=dict[str, Reply])
    failed: Mapping[str, "CallFailed"] = field(default_factory=dict[str, "CallFailed"])


class HandedOver(GatewayError):
    """This process is about to end; another goes on with the solve."""


class CallFailed(ProviderError):
    """All attempts of a call failed; `cost` is what they cost the tenant."""

    def __init__(self, last: ProviderError, *, call_id: str, cost: NanoUSD) -> None:
        super().__init__(last.detail, may_have_worked=last.may_have_worked)
        self.last, self.call_id, self.cost = last, call_id, cost


class Attempts:
    """Makes the calls of one solve.

    `lines` is what they came to, in the order they ended; `replies` has every answer that was paid
    for, by op; `told` is what a search was told of them and the journal was not, yet: it rides
    along with the next intent, or the finish. A resumed solve hands in `past`: a call that was
    answered before is not made again.

    `begun` is the first call where the ledger journalled it with the hold, and `last` the op after
    which nothing can happen but the finish: its outcome is written down with that, and so is one
    transaction less to wait for.
    """

    def __init__(
        self,
        *,
        claim: Claim,
        ledger: Ledger,
        providers: Mapping[str, Provider],
        meter: Meter,
        problem: str,
        seed: int,
        temperature: float | None,
        ends_at: float,
        past: Past | None = None,
        begun: Intent | None = None,
        last: str | None = None,
    ) -> None:
        self._past = Past() if past is None else past
        self.lines: list[CallLine] = list(self._past.lines)
        self.replies: dict[str, Reply] = dict(self._past.replies)
        self.told: list[Told] = []
        self._claim, self._ledger, self._providers, self._meter = claim, ledger, providers, meter
        self._problem, self._seed, self._temperature = problem, seed, temperature
        self._ends_at = ends_at
        self._begun, self._last = begun, last
        self._outcome: tuple[Intent, CallResult] | None = None
        self._leaving = False
        self._room = asyncio.Condition()
        self._enough = asyncio.Event()

    @property
    def loose(self) -> Loose:
        """What is left for the finish to write down."""
        return Loose(told=self.told, outcome=self._outcome, unmade=self._begun)

    def last_call(self, op: str) -> str:
        """The id of the last attempt of an op that has been tried."""
        attempt = max(line.attempt for line in self.lines if line.op == op)
        return call_id_of(self._claim.solve_id, op, attempt)

    def try_no_more(self) -> None:
        """From now on a call that fails is not made again: nobody needs its answer any more."""
        self._enough.set()

    def hand_over(self) -> None:
        """From now on no call is begun: HandedOver is raised instead. Those in flight go on.

        One that was journalled with the hold has begun.
        """
        self._leaving = True

    async def complete(
        self,
        op: str,
        seat: Seat,
        messages: Sequence[Message],
        *,
        ahead: NanoUSD = NanoUSD(0),
        trial: TrialPlace | None = None,
        drafts: Sequence[Draft] = (),
    ) -> Reply:
        """Get an answer, trying again where that may help.

        `drafts` are what is to be read. A hold too small grows to `ahead` of room. A call that an
        operator's limit has no room for waits for the next minute, if that begins in time. Raises
        BudgetExceeded or LimitReached before a call that does not fit, HandedOver before one that
        is another process's to make, CallFailed when no attempt gave an answer, TimeoutError when
        the solve's time ran out over it, ClaimLost where another process has taken the solve over.
        """
        if (known := self.replies.get(op)) is not None:
            return known
        if (before := self._past.failed.get(op)) is not None:
            raise before
        made = sum(line.op == op for line in self._past.lines)
        spent = NanoUSD(sum(line.cost for line in self._past.lines if line.op == op))
        for attempt in range(made + 1, made + ATTEMPTS_MAX + 1):
            intent = intent_for(self._claim.solve_id, op, attempt, seat, messages, trial=trial)
            draw = await self._hold(intent, seat.tokens_max(messages), ahead)
            try:
                completion = await self._call(intent, seat, messages, drafts)
            except asyncio.CancelledError:
                # Open until the solve is finished, which is about to happen; the tenant pays none.
                self._list(intent, CUT_SHORT, NanoUSD(0))
                raise
            except ProviderError as failure:
                spent = NanoUSD(spent + await self._book(intent, draw, failed(failure, seat)))
                if not self._left_s():
                    # It failed because its time was up, which says nothing about the provider.
                    raise TimeoutError from failure
                if not await self._try_again(failure, attempt - made):
                    raise CallFailed(failure, call_id=intent.call_id, cost=spent) from failure
            else:
                result = answered(completion, seat, messages)
                reply = Reply(op, intent.call_id, seat, completion, spent)
                return await uninterrupted(self._keep(reply, intent, draw, result))
        raise AssertionError("the last attempt returns or raises")

    async def _hold(self, intent: Intent, tokens_max: int, ahead: NanoUSD) -> Draw:
        while True:
            try:
                return await self._hold_in_turn(intent, tokens_max, ahead)
            except RateLimited as refusal:
                # What was admitted is not failed for what others use of a minute: another begins.
                in_time = refusal.passes and refusal.retry_after_s < self._left_s()
                if not in_time or await self._is_enough(min(LOOK_S, refusal.retry_after_s)):
                    raise

    async def _hold_in_turn(self, intent: Intent, tokens_max: int, ahead: NanoUSD) -> Draw:
        # One at a time: until the ledger has agreed, nobody may count on what the meter took.
        async with self._room:
            while True:
                try:
                    return await self._draw(intent, tokens_max, ahead)
                except RateLimited:
                    raise  # a call in flight has its tokens until the solve ends
                except (BudgetExceeded, LimitReached):
                    # Calls in flight will give back what they do not use.
                    if self._meter.is_idle:
                        raise
                await self._room.wait()

    async def _draw(self, intent: Intent, tokens_max: int, ahead: NanoUSD) -> Draw:
        if self._leaving and intent != self._begun:
            raise HandedOver(f"solve {self._claim.solve_id} is handed over")
        draw = self._meter.draw(intent.max_cost, tokens_max=tokens_max, ahead=ahead)
        if intent == self._begun:
            self._begun = None
            return draw
        told = tuple(self.told)
        try:
            await self._ledger.intend(self._claim, intent, grow=draw.grow, told=told)
        except RateLimited:
            self._meter.undo(draw)
            raise
        except BudgetExceeded:
            self._meter.undo(draw)
            if not ahead:
                raise
            # A whole round does not fit; this call alone may.
            return await self._draw(intent, tokens_max, NanoUSD(0))
        # Only now: what was told rides along again if this intent was never committed.
        del self.told[: len(told)]
        return draw

    async def _call(
        self, intent: Intent, seat: Seat, messages: Sequence[Message], drafts: Sequence[Draft]
    ) -> Completion:
        expert = seat.expert
        request = CompletionRequest(
            model=expert.model,
            messages=messages,
            max_output_tokens=seat.max_output_tokens,
            problem=self._problem,
            op=intent.op,
            seed=self._seed,
            temperature=expert.temperature if self._temperature is None else self._temperature,
            parameters=expert.parameters,
            traceparent=child_traceparent(),
            drafts=drafts,
        )
        return await self._providers[expert.provider].complete(request, deadline_s=self._left_s())

    async def _book(self, intent: Intent, draw: Draw, result: CallResult) -> NanoUSD:
        # Whatever cancels us now, the money is gone and must be written down first: in the ledger,
        # and in the lines that its tenant is shown.
        return await uninterrupted(self._write_down(intent, draw, result))

    async def _keep(self, reply: Reply, intent: Intent, draw: Draw, result: CallResult) -> Reply:
        # Uninterrupted like its booking: what was paid for as the time ended is an answer, too.
        cost = await self._write_down(intent, draw, result)
        paid = replace(reply, cost=NanoUSD(reply.cost + cost))
        self.replies[reply.op] = paid
        return paid

    async def _write_down(self, intent: Intent, draw: Draw, result: CallResult) -> NanoUSD:
        cost = await self._settle(intent, result)
        reported = (result.input_tokens or 0) + (result.output_tokens or 0)
        tokens = reported + result.counted_tokens
        self._meter.charge(draw, cost, tokens=tokens)
        self._list(intent, result, cost)
        async with self._room:
            self._room.notify_all()
        return cost

    def _list(self, intent: Intent, result: CallResult, cost: NanoUSD) -> None:
        self.lines.append(
            CallLine(
                op=intent.op,
                attempt=intent.attempt,
                expert=intent.expert,
                expert_version=intent.expert_version,
                model=result.returned_model or intent.model,
                price_version=intent.price_version,
                state=result.bill.state,
                cost=cost,
                estimated=result.bill.billed is None and cost > 0,
                input_tokens=result.input_tokens,
                output_tokens=result.output_tokens,
                error=result.error,
            )
        )

    async def _settle(self, intent: Intent, result: CallResult) -> NanoUSD:
        bill = result.bill
        is_last = intent.op == self._last and bill.state is CallState.OK
        if is_last and bill.billed is not None and bill.billed <= intent.max_cost:
            # What was held for it covers it, so its price is what the tenant pays.
            self._outcome = intent, result
            return bill.billed
        split = await self._ledger.settle_call(self._claim, intent, result)
        if split is None or split.late:
            # Who took the solve over has closed the call, and perhaps asked again: a search that
            # was told of this answer would have a node that nobody paid for.
            raise ClaimLost(f"call {intent.call_id} was closed by another process")
        return split.tenant

    async def _try_again(self, failure: ProviderError, attempt: int) -> bool:
        if not isinstance(failure, ProviderUnavailable) or attempt == ATTEMPTS_MAX:
            return False
        backoff_s = BACKOFF_S * 2**attempt * random.uniform(0.5, 1)  # jitter
        wait_s = backoff_s if failure.retry_after_s is None else failure.retry_after_s
        if wait_s >= self._left_s():
            return False
        return not await self._is_enough(wait_s)

    async def _is_enough(self, wait_s: float) -> bool:
        """Wait so long, or until nobody needs another answer."""
        try:
            async with asyncio.timeout(wait_s):
                await self._enough.wait()
        except TimeoutError:
            return False
        return True

    def _left_s(self) -> float:
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())


def intent_for(
    solve_id: SolveId,
    op: str,
    attempt: int,
    seat: Seat,
    messages: Sequence[Message],
    *,
    trial: TrialPlace | None = None,
) -> Intent:
    """The intent of a call; the same attempt of the same op is the same call."""
    return Intent(
        call_id=call_id_of(solve_id, op, attempt),
        op=op,
        attempt=attempt,
        expert=seat.expert.name,
        expert_version=seat.expert.version,
        provider=seat.expert.provider,
        model=seat.expert.model,
        price_version=seat.price.version,
        prompt_sha256=fingerprint(messages),
        max_cost=seat.worst_case(messages),
        max_tokens=seat.tokens_max(messages),
        trial=trial,
    )


def call_id_of(solve_id: SolveId, op: str, attempt: int) -> str:
    """The id of a call, which is written once."""
    return f"{solve_id}:{op}:{attempt}"
