"""What a tenant may use and what it gets by default: experts, the price of an error, caps."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.errors import GatewayError
from app.money import NanoUSD

CONFIDENCE_MIN: Final = 0.5
"""As likely wrong as right."""


class PolicyNotConfigured(GatewayError):
    """A tenant's policy is not in the configuration of this process: its operator must add it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"this tenant's policy {name!r} is not configured here; tell the operator")
        self.name = name


@dataclass(frozen=True, slots=True)
class Expert:
    """A named way to answer: a provider's model, instructions and sampling parameters.

    `max_output_tokens` is required: without it no call has a worst case. `template_tokens` are the
    input tokens that the provider adds to what we send (a recorded few-shot prompt, a template).
    `parameters` are the vendor's own. `vendor` and `tags` say who sees the text, and under what
    terms.
    """

    name: str
    provider: str
    model: str
    max_output_tokens: int
    instructions: str | None = None
    temperature: float | None = None
    template_tokens: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    vendor: str = ""
    tags: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """A short hash of everything that changes how it answers."""
        facts = (self.provider, self.model, self.max_output_tokens, self.instructions)
        digest = hashlib.sha256(
            repr(
                (*facts, self.temperature, self.template_tokens, sorted(self.parameters.items()))
            ).encode()
        )
        return digest.hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Policy:
    """A tenant's defaults; a request may narrow them, never widen them.

    `value` is V, the price of a wrong answer. `auto_cap` and `search_cap` bound one solve when the
    request names no budget. `deadline_s` bounds a synchronous solve. `texts_days` is how long
    what was asked and answered is kept; `pool_labels` says whether what is learned from the
    tenant's solves counts for others, too. `search_experts_max` is how many of the search experts
    enter a search, by what their scorecards say of its category; None: all of them. `audit_share`
    is how likely an accepted answer is to be audited, on the operator's budget; 0 for never.
    `risk_epsilon` is the regret that audits are to certify, with confidence 1 - `risk_delta`. An
    answer is of low confidence where P(right) is below `confidence_min`.
    """

    name: str
    default_expert: str
    second_opinion_expert: str
    strong_expert: str
    search_experts: Sequence[str]
    value: NanoUSD
    auto_cap: NanoUSD
    search_cap: NanoUSD
    deadline_s: float
    concurrency: int
    texts_days: int = 7
    pool_labels: bool = True
    search_experts_max: int | None = None
    audit_share: float = 0.0
    risk_epsilon: float = 0.05
    risk_delta: float = 0.1
    confidence_min: float = CONFIDENCE_MIN

    def allowed(self) -> frozenset[str]:
        """The experts a request of this policy may name."""
        roles = {self.default_expert, self.second_opinion_expert, self.strong_expert}
        return frozenset(roles | set(self.search_experts))
