"""A vendor that remembers what it charged, also for answers that nobody heard.

It is slow at times, refuses, fails after the work was done, answers in part, and reports no usage.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from app.ids import uuid7
from app.ledger.price import Price
from app.money import NanoUSD, from_usd, to_usd
from tests.providers.upstream import MODEL, Act, Asked, Part, completion, error, respond

PRICE: Final = Price("upstream", MODEL, input=from_usd("1"), output=from_usd("10"))
OUTPUT_TOKENS_MAX: Final = 500
LATENCY_S: Final = 0.15
SLOW_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request cost, as the vendor's report says."""

    request_id: str
    model: str
    at: datetime
    input_tokens: int
    output_tokens: int
    cost: NanoUSD
    said: str


class Vendor:
    """Answers requests as `tests.providers.upstream` wants it, and keeps the bill."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.charges: list[Charge] = []
        self.answers = Counter[str]()

    async def answer(self, asked: Asked) -> Act:
        """One request."""
        rng = self._rng
        output_tokens = rng.randint(1, OUTPUT_TOKENS_MAX)
        latency_s = SLOW_S if rng.random() < 0.01 else rng.expovariate(1 / LATENCY_S)
        try:
            await asyncio.sleep(latency_s)
        except asyncio.CancelledError:
            # Its client has left. Some of the work may have been done by then.
            if rng.random() < 0.5:
                self._charge(asked, rng.randint(1, output_tokens), "left")
            raise
        match rng.choices(
            ["answered", "rate limited", "broken", "cut", "no usage", "overrun"],
            [89, 3, 3, 2, 2, 1],
        )[0]:
            case "rate limited":
                self.answers["rate limited"] += 1
                refusal = error("slow down", "rate_limit_exceeded")
                return respond(refusal, status=429, headers={"retry-after": "0.1"})
            case "broken":
                if rng.random() < 0.5:
                    self._charge(asked, output_tokens, "broken")
                return respond(error("internal", "server_error"), status=500)
            case "cut":
                charge = self._charge(asked, output_tokens, "cut")
                return Part(self._reply(charge)[: rng.randint(1, 200)])
            case "no usage":
                charge = self._charge(asked, output_tokens, "no usage")
                return self._reply(charge, reported=False)
            case "overrun":
                return self._reply(self._charge(asked, 2 * OUTPUT_TOKENS_MAX, "overrun"))
            case _:
                return self._reply(self._charge(asked, output_tokens, "answered"))

    def report(self) -> str:
        """The bill as CSV, a row a request."""
        lines = ["request_id,model,time,cost_usd"]
        lines += [
            f"{one.request_id},{one.model},{one.at.isoformat()},{to_usd(one.cost)}"
            for one in self.charges
        ]
        return "\n".join(lines)

    def _charge(self, asked: Asked, output_tokens: int, said: str) -> Charge:
        # No more than the request's bytes, as every tokenizer has it.
        input_tokens = self._rng.randint(1, len(asked.document["messages"][-1]["content"]))
        charge = Charge(
            request_id=f"req_{uuid7().hex}",
            model=MODEL,
            at=datetime.now(UTC),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost=PRICE.cost(input_tokens, output_tokens),
            said=said,
        )
        self.charges.append(charge)
        self.answers[said] += 1
        return charge

    def _reply(self, charge: Charge, *, reported: bool = True) -> bytes:
        usage = {
            "prompt_tokens": charge.input_tokens,
            "completion_tokens": charge.output_tokens,
            "total_tokens": charge.input_tokens + charge.output_tokens,
        }
        text = str(self._rng.randint(0, 9))
        document = completion(text, usage=usage if reported else None)
        return respond(document, headers={"x-request-id": charge.request_id})
