"""The one provider of a world: it remembers what it charged, whoever heard of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from app.ledger.price import Price
from app.money import NanoUSD
from app.providers.completion import (
    Completion,
    CompletionRequest,
    FinishReason,
    ProviderInvalidResponse,
    ProviderRefused,
    ProviderUnavailable,
    Usage,
)
from tests.simulation.world import Fault, Line, Verdict, World

INPUT_TOKENS: Final = 25
"""Fewer than the bytes of any prompt here."""
OUTPUT_TOKENS: Final = 300


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call cost; `id` is what its reply says, if one arrives."""

    id: str
    problem: str
    op: str
    amount: NanoUSD
    by: str


@dataclass(slots=True)
class Upstream:
    """Answers, fails, dawdles and overcharges by the world's seed."""

    world: World
    price: Price
    charges: list[Charge] = field(default_factory=list[Charge])

    async def complete(
        self, request: CompletionRequest, *, deadline_s: float, line: Line
    ) -> Completion:
        """Answer one call of one process."""
        limit = asyncio.timeout(deadline_s)
        try:
            async with limit:
                return await self._complete(request, line)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ProviderUnavailable("no answer in time", may_have_worked=True) from None

    async def _complete(self, request: CompletionRequest, line: Line) -> Completion:
        world = self.world
        draw = world.random.random
        verdict = await world.pass_gate(line, "call")
        if verdict is Verdict.DROP:
            raise ProviderUnavailable("no connection", may_have_worked=False)
        kind = draw()
        if kind < 0.04:
            raise ProviderUnavailable("slow down", may_have_worked=False)
        if kind < 0.05:
            raise ProviderRefused("HTTP 400", may_have_worked=False)
        # No more than the worst case: who charges beyond it and keeps silent is found out by his
        # own report alone.
        most = min(OUTPUT_TOKENS, request.max_output_tokens)
        usage = Usage(int(draw() * INPUT_TOKENS), int(draw() * most))
        silent = 0.08 < kind < 0.12
        if not silent and draw() < 0.04:  # more than it was told to write
            usage = Usage(usage.input_tokens, request.max_output_tokens * 3)
        charge = Charge(
            f"req-{len(self.charges)}",
            request.problem,
            request.op,
            self.price.cost(usage.input_tokens, usage.output_tokens),
            line.name,
        )
        self.charges.append(charge)
        if verdict is Verdict.DIE:
            world.kill(line)
            await world.never()
        await self._think()
        if verdict is Verdict.LOSE:
            raise ProviderUnavailable("cut off", may_have_worked=True)
        if await world.pass_gate(line, "answer") is not Verdict.DO:
            raise ProviderUnavailable("cut off", may_have_worked=True)
        if kind < 0.08:
            raise ProviderInvalidResponse("no choices", usage=usage)
        text = "the answer is 391" if draw() < 0.3 else f"the answer is {int(draw() * 4)}"
        return Completion(
            text,
            FinishReason.LENGTH if kind > 0.97 else FinishReason.STOP,
            None if silent else usage,
            returned_model=request.model,
            provider_request_id=charge.id,
        )

    async def _think(self) -> None:
        world = self.world
        if world.calm or world.random.random() > 0.04:
            await asyncio.sleep(world.random.expovariate(1 / 0.2))
            return
        world.note(Fault.SLOW)
        await asyncio.sleep(world.lease_s * world.random.uniform(0.5, 5))


@dataclass(frozen=True, slots=True)
class Reach:
    """How one process reaches the provider."""

    upstream: Upstream
    line: Line

    async def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """See `Provider`."""
        return await self.upstream.complete(request, deadline_s=deadline_s, line=self.line)

    async def aclose(self) -> None:
        """There is nothing to give back."""
