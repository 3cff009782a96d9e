"""From the configuration to who can answer: providers, experts at their prices, policies."""

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypedDict

from app.gate.document import UnreadableWeights, model_from
from app.ledger.ledger import Ledger
from app.ledger.price import Price
from app.providers import anthropic, gemini, openai
from app.providers.aiohttp_transport import AiohttpTransport
from app.providers.anthropic import AnthropicProvider
from app.providers.completion import Provider
from app.providers.gemini import GeminiProvider
from app.providers.openai import OpenAIProvider
from app.providers.recordings import BadRecordings, Recordings
from app.providers.replay import ReplayProvider
from app.settings import (
    AnthropicProviderConfig,
    BadConfiguration,
    ExpertConfig,
    GateConfig,
    GatewayConfig,
    GeminiProviderConfig,
    OpenAIProviderConfig,
    PolicyConfig,
    ProviderConfig,
    ReplayProviderConfig,
    VendorConfig,
)
from app.tenants.policy import Expert, Policy

PACKAGED: Final = "package:"
UNTRAINED: Final = "none"

REFUSE_RESERVED: Final = {
    "openai": openai.refuse_reserved,
    "anthropic": anthropic.refuse_reserved,
    "gemini": gemini.refuse_reserved,
}
"""By the kind of an expert's provider; a recorded one is asked with no parameters."""


class _Shared(TypedDict):
    """What each vendor's provider is made of."""

    name: str
    base_url: str
    api_key: str | None
    transport: AiohttpTransport
    connect_timeout_s: float
    read_timeout_s: float
    concurrency: int
    parameters: Mapping[str, Any]


def open_provider(name: str, config: ProviderConfig) -> Provider:
    """The provider that a section of the configuration describes, within the running loop.

    Raises BadConfiguration naming the section and the key.
    """
    try:
        match config:
            case ReplayProviderConfig():
                return _replay(config)
            case vendor:
                return _vendor(name, vendor)
    except (BadRecordings, OSError, ValueError) as error:
        raise BadConfiguration(f"providers.{name}: {error}") from None


def _replay(config: ReplayProviderConfig) -> Provider:
    return ReplayProvider(open_recordings(config), latency_s=config.latency_s)


def open_recordings(config: ReplayProviderConfig) -> Recordings:
    """What a section has recorded. Raises BadRecordings, or OSError if it cannot be read."""
    return Recordings.load(_path(config.recordings))


def _path(named: str) -> Path:
    packaged = files("app") / "data" / named.removeprefix(PACKAGED)
    return Path(str(packaged)) if named.startswith(PACKAGED) else Path(named)


def read_weights(config: GateConfig) -> Mapping[str, Any] | None:
    """The document of the gate's weights; None where the untrained rule is to decide.

    Raises BadConfiguration where it is none.
    """
    if config.weights == UNTRAINED:
        return None
    try:
        document: dict[str, Any] = json.loads(_path(config.weights).read_text("utf-8"))
        model_from(document)
    except (OSError, ValueError, UnreadableWeights) as error:
        raise BadConfiguration(f"gate.weights: {error}") from None
    return document


def _vendor(name: str, config: VendorConfig) -> Provider:
    shared = _Shared(
        name=name,
        base_url=config.base_url,
        api_key=_secret(config.api_key_env),
        transport=AiohttpTransport(ca_file=config.ca_file, proxy=config.proxy),
        connect_timeout_s=config.connect_timeout_s,
        read_timeout_s=config.read_timeout_s,
        concurrency=config.concurrency,
        parameters=config.parameters,
    )
    match config:
        case AnthropicProviderConfig():
            return AnthropicProvider(**shared)
        case GeminiProviderConfig():
            return GeminiProvider(**shared)
        case OpenAIProviderConfig():
            return OpenAIProvider(
                **shared,
                max_tokens_field=config.max_tokens_field,
                seed_field=config.seed_field or None,
            )


def _secret(variable: str | None) -> str | None:
    # The one thing that is not in the file: it names the variable, the environment has the secret.
    if variable is None:
        return None
    secret = os.environ.get(variable)
    if not secret:
        raise ValueError(f"api_key_env: the environment has no {variable}")
    return secret


def make_expert(name: str, config: ExpertConfig, *, kind: str) -> tuple[Expert, Price]:
    """An expert of a provider of that `kind`, and what its tokens cost.

    Raises BadConfiguration for a reserved parameter.
    """
    try:
        REFUSE_RESERVED.get(kind, openai.refuse_reserved)(config.parameters)
    except ValueError as error:
        raise BadConfiguration(f"experts.{name}: {error}") from None
    expert = Expert(
        name=name,
        provider=config.provider,
        model=config.model,
        max_output_tokens=config.max_output_tokens,
        instructions=config.instructions,
        temperature=config.temperature,
        template_tokens=config.template_tokens,
        parameters=config.parameters,
        vendor=config.vendor or config.provider,
        tags=tuple(config.tags),
    )
    price = Price(
        provider=config.provider,
        model=config.model,
        input=config.input_usd_per_mtok,
        output=config.output_usd_per_mtok,
    )
    return expert, price


def make_policy(name: str, config: PolicyConfig) -> Policy:
    """A policy; every role that is not named is the default expert's."""
    default = config.default_expert
    return Policy(
        name=name,
        default_expert=default,
        second_opinion_expert=config.second_opinion_expert or default,
        strong_expert=config.strong_expert or default,
        search_experts=tuple(config.search_experts or (default,)),
        value=config.value_usd,
        auto_cap=config.auto_cap_usd,
        search_cap=config.search_cap_usd,
        deadline_s=config.deadline_s,
        concurrency=config.concurrency,
        texts_days=config.texts_days,
        pool_labels=config.pool_labels,
        search_experts_max=config.search_experts_max,
        audit_share=config.audit_share,
        risk_epsilon=config.risk_epsilon,
        risk_delta=config.risk_delta,
        confidence_min=config.confidence_min,
    )


async def price_experts(
    config: GatewayConfig, ledger: Ledger
) -> Mapping[str, tuple[Expert, Price]]:
    """Every expert, its price on record before its first use."""
    experts = {
        name: make_expert(name, made, kind=config.providers[made.provider].kind)
        for name, made in config.experts.items()
    }
    for _, price in experts.values():
        await ledger.register(price)
    return experts
