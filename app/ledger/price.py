"""What a model's tokens cost, and the most that one call can cost. Pure integer arithmetic.

An unknown price is an error before any call, never a zero; an explicit zero is allowed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from app.money import NanoUSD, price


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens of one provider's model."""

    provider: str
    model: str
    input: NanoUSD
    output: NanoUSD

    @property
    def version(self) -> str:
        """Names exactly these rates, so that the same price registered twice is one version."""
        rates = [f"{unit}={rate}" for unit, rate in self.units().items()]
        facts = "\n".join([self.provider, self.model, *rates])
        return f"prc_{hashlib.sha256(facts.encode()).hexdigest()[:16]}"

    def units(self) -> Mapping[str, NanoUSD]:
        """The rate of each unit, as kept in the price table."""
        return {"input": self.input, "output": self.output}

    def cost(self, input_tokens: int, output_tokens: int) -> NanoUSD:
        """What a call of so many tokens costs, rounded up once to a nano-dollar."""
        return price([(input_tokens, self.input), (output_tokens, self.output)])

    def worst_case(self, input_tokens_max: int, output_tokens_max: int) -> NanoUSD:
        """The most a call can cost within these bounds; what must be held before it starts."""
        return self.cost(input_tokens_max, output_tokens_max)
