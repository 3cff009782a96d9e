"""From the configuration to who can answer: providers, experts at their prices, policies."""

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from app.gate.document import UnreadableWeights, model_from
from app.ledger.ledger import Ledger
from app.ledger.price import Price
from app.providers.aiohttp_transport import AiohttpTransport
from app.providers.completion import Provider
from app.providers.openai import OpenAIProvider, refuse_reserved
from app.providers.recordings import BadRecordings, Recordings
from app.providers.replay import ReplayProvider
from app.settings import (
    BadConfiguration,
    ExpertConfig,
    GateConfig,
    GatewayConfig,
    OpenAIProviderConfig,
    PolicyConfig,
    ProviderConfig,
    ReplayProviderConfig,
)
from app.tenants.policy import Expert, Policy

PACKAGED: Final = "package:"
UNTRAINED: Final = "none"


def open_provider(name: str, config: ProviderConfig) -> Provider:
    """The provider that a section of the configuration describes, within the running loop.

    Raises BadConfiguration naming the section and the key.
    """
    try:
        match config:
            case ReplayProviderConfig():
                return _replay(config)
            case OpenAIProviderConfig():
                return _openai(name, config)
    except (BadRecordings, OSError, ValueError) as error:
        raise BadConfiguration(f"providers.{name}: {error}") from None


def _replay(config: ReplayProviderConfig) -> Provider:
    named = config.recordings
    return ReplayProvider(Recordings.load(_path(named)), latency_s=config.latency_s)


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


def _openai(name: str, config: OpenAIProviderConfig) -> Provider:
    return OpenAIProvider(
        name=name,
        base_url=config.base_url,
        api_key=_secret(config.api_key_env),
        transport=AiohttpTransport(ca_file=config.ca_file, proxy=config.proxy),
        connect_timeout_s=config.connect_timeout_s,
        read_timeout_s=config.read_timeout_s,
        concurrency=config.concurrency,
        max_tokens_field=config.max_tokens_field,
        seed_field=config.seed_field or None,
        parameters=config.parameters,
    )


def _secret(variable: str | None) -> str | None:
    # The one thing that is not in the file: it names the variable, the environment has the secret.
    if variable is None:
        return None
    secret = os.environ.get(variable)
    if not secret:
        raise ValueError(f"api_key_env: the environment has no {variable}")
    return secret


def make_expert(name: str, config: ExpertConfig) -> tuple[Expert, Price]:
    """An expert and what its tokens cost. Raises BadConfiguration for a reserved parameter."""
    try:
        refuse_reserved(config.parameters)
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
    )


async def price_experts(
    config: GatewayConfig, ledger: Ledger
) -> Mapping[str, tuple[Expert, Price]]:
    """Every expert, its price on record before its first use."""
    experts = {name: make_expert(name, made) for name, made in config.experts.items()}
    for _, price in experts.values():
        await ledger.register(price)
    return experts
