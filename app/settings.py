"""What the operator decides: the environment, and one TOML file of providers, experts, policies.

Both are read once, at start. Secrets come from the environment alone; the file names the variable.
A mistake is reported with the file, the key and what was expected; an unknown key is a mistake.
"""

import tomllib
from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import GatewayError
from app.money import NanoUSD, from_usd


class BadConfiguration(GatewayError):
    """The gateway does not start with a configuration that it would have to guess about."""


def _one_of(*schemes: str) -> Callable[[str], str]:
    """A check of a URL's scheme. It never repeats the URL, which may hold a password."""

    def check(url: str) -> str:
        if url.partition("://")[0] not in schemes or "://" not in url:
            raise ValueError(f"a URL that starts with {' or '.join(f'{s}://' for s in schemes)}")
        return url

    return check


DatabaseUrl = Annotated[str, AfterValidator(_one_of("sqlite+aiosqlite", "postgresql+asyncpg"))]
RedisUrl = Annotated[str, AfterValidator(_one_of("redis", "rediss", "unix"))]


SmtpUrl = Annotated[str, AfterValidator(_one_of("smtp", "smtps"))]


Dispatch = Literal["inline", "dbos"]
"""Who runs what no client waits for: the process that accepts it, or any, by way of DBOS."""


class Settings(BaseSettings):
    """The environment: one `FATHOM_…` variable a field."""

    model_config = SettingsConfigDict(env_prefix="FATHOM_", frozen=True, extra="ignore")

    database_url: DatabaseUrl = "sqlite+aiosqlite:///fathom.db"
    redis_url: RedisUrl | None = None
    config: Path | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    drain_linger_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    lease_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    background_max: Annotated[int, Field(ge=0, le=10_000)] = 64
    dispatch: Dispatch = "inline"
    solves_max: Annotated[int, Field(ge=1, le=100_000)] = 256
    queue_max: Annotated[int, Field(ge=0, le=100_000)] = 1024
    batch_max: Annotated[int, Field(ge=0, le=10_000)] = 8
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    admin_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Of the operator, for `/admin/v1`; nothing is there where it is not set."""
    webhooks_allow: str = ""
    """Origins inside that tenants' webhooks may reach, between commas: `http://10.1.2.3:9000`."""
    smtp_url: SmtpUrl | None = None
    smtp_from: str = "fathom@localhost"
    gate_train_hours: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    """How often the gate's weights are fitted anew on what was learned; 0 for never."""
    metrics_tenants: str = ""
    """Names of the tenants that have metrics of their own, between commas; `*` for the oldest."""


def _dollars(value: object) -> NanoUSD:
    # A float has already lost what the file said: 0.1 is not a tenth.
    if isinstance(value, float) or not isinstance(value, str | int):
        raise ValueError('an amount of dollars in quotes, such as "0.15"')  # noqa: TRY004 - pydantic
    amount = from_usd(Decimal(value) if isinstance(value, int) else value)
    if amount < 0:
        raise ValueError("an amount that is not negative")
    return amount


USD = Annotated[NanoUSD, BeforeValidator(_dollars)]
"""Dollars in quotes in the file, nano-dollars inside."""


def _name(value: str) -> str:
    if not value.replace("-", "").replace("_", "").replace(".", "").replace("/", "").isalnum():
        raise ValueError("a name of letters, digits and - _ . /")
    return value


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReplayProviderConfig(_Section):
    """Recorded answers: a JSON Lines file, or `package:<name>` for one that Fathom ships."""

    kind: Literal["replay"]
    recordings: str
    latency_s: Annotated[float, Field(ge=0, le=60)] = 0.0


class _VendorConfig(_Section):
    """A server that speaks a vendor's format; its key is in the variable `api_key_env` names."""

    base_url: str
    api_key_env: str | None = None
    connect_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    read_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 600.0
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    proxy: str | None = None
    ca_file: Path | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])


class OpenAIProviderConfig(_VendorConfig):
    """A server that speaks chat completions."""

    kind: Literal["openai"]
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed_field: str = "seed"


class AnthropicProviderConfig(_VendorConfig):
    """A server that speaks Anthropic's messages."""

    kind: Literal["anthropic"]
    base_url: str = "https://api.anthropic.com/v1"


class GeminiProviderConfig(_VendorConfig):
    """A server that speaks Google's generateContent."""

    kind: Literal["gemini"]
    base_url: str = "https://generativelanguage.googleapis.com/v1beta"


VendorConfig = OpenAIProviderConfig | AnthropicProviderConfig | GeminiProviderConfig
ProviderConfig = ReplayProviderConfig | VendorConfig


class ExpertConfig(_Section):
    """A named way to answer, and what its tokens cost in dollars per million."""

    provider: Name
    model: str
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)]
    input_usd_per_mtok: USD
    output_usd_per_mtok: USD
    instructions: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    template_tokens: Annotated[int, Field(ge=0)] = 0
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    vendor: Name | None = None
    tags: Sequence[Name] = ()


class PolicyConfig(_Section):
    """What a tenant gets by default, and the most it may get."""

    default_expert: Name
    second_opinion_expert: Name | None = None
    strong_expert: Name | None = None
    search_experts: Sequence[Name] | None = None
    value_usd: USD = NanoUSD(50_000_000)
    auto_cap_usd: USD = NanoUSD(100_000_000)
    search_cap_usd: USD = NanoUSD(500_000_000)
    deadline_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    concurrency: Annotated[int, Field(ge=1, le=32)] = 4
    texts_days: Annotated[int, Field(ge=0, le=400)] = 7
    weight: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    pool_labels: bool = True
    """Whether what the gate learns from this policy's tenants counts for other tenants, too."""
    search_experts_max: Annotated[int, Field(ge=1, le=64)] | None = None
    audit_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of accepted answers; 0 turns audits off. Of a new category's first 200, a half at least."""
    risk_epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.05
    risk_delta: Annotated[float, Field(gt=0, lt=1)] = 0.1
    confidence_min: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """P(right) below which an answer is of low confidence (`gate.on_low_confidence`)."""


class GateConfig(_Section):
    """Weights of the gate: a file of `fathom gate train`, `package:<name>`, or `none` for none.

    A file that is named decides from the first start with it, until newer weights are promoted.
    """

    weights: str = "package:gate.json"
    audit_tenant: str | None = None
    """The name of the operator's tenant, which pays for audits; without one there are none."""


class GatewayConfig(_Section):
    """The whole file; every name that one part uses must be defined in another."""

    providers: dict[Name, Annotated[ProviderConfig, Field(discriminator="kind")]]
    experts: dict[Name, ExpertConfig]
    policies: dict[Name, PolicyConfig]
    gate: GateConfig = Field(default_factory=GateConfig)
    platform_cost_usd_month: USD = NanoUSD(0)
    """What running the gateway costs in thirty days, for the account of what it brings."""

    @model_validator(mode="after")
    def _names_are_defined(self) -> Self:
        for name, expert in self.experts.items():
            if expert.provider not in self.providers:
                raise ValueError(f"experts.{name}.provider: no provider {expert.provider!r}")
        for name, policy in self.policies.items():
            roles = [policy.default_expert, policy.second_opinion_expert, policy.strong_expert]
            searching = policy.search_experts or ()
            if len(set(searching)) < len(searching):
                raise ValueError(f"policies.{name}.search_experts: one is named twice")
            for wanted in [*roles, *searching]:
                if wanted is not None and wanted not in self.experts:
                    raise ValueError(f"policies.{name}: no expert {wanted!r}")
        if "default" not in self.policies:
            raise ValueError("policies.default: is missing")
        return self


def read_settings() -> Settings:
    """The environment, parsed. Raises BadConfiguration naming the variable."""
    try:
        return Settings()
    except ValidationError as error:
        raise BadConfiguration(_explain("environment", error, prefix="FATHOM_")) from None


def read_config(path: Path | None) -> GatewayConfig:
    """The file at `path`, or the packaged demonstration when there is none."""
    source = str(path) if path else "the packaged demo.toml"
    try:
        found = files("app").joinpath("data/demo.toml") if path is None else path
        return GatewayConfig.model_validate(tomllib.loads(found.read_text("utf-8")))
    except OSError as error:
        raise BadConfiguration(f"{source}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{source}: is not UTF-8: {error.reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(f"{source}: is not TOML: {error}") from None
    except ValidationError as error:
        raise BadConfiguration(_explain(source, error)) from None


def _explain(source: str, error: ValidationError, prefix: str = "") -> str:
    lines: list[str] = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        key = prefix + ".".join(str(part) for part in fault["loc"])
        lines.append(
            f"{source}: {key.upper() if prefix else key}: {fault['msg']}".replace(": :", ":")
        )
    return "\n".join(lines)
