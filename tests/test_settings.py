"""A configuration with a mistake is refused: where it is, and what was expected."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.catalogue import make_expert, open_provider
from app.settings import BadConfiguration, read_config

GOOD = """
[providers.main]
kind = "openai"
base_url = "https://models.example/v1"

[experts.fast]
provider = "main"
model = "m"
max_output_tokens = 1000
input_usd_per_mtok = "0.15"
output_usd_per_mtok = "0.60"

[policies.default]
default_expert = "fast"
"""

MISTAKES = [
    pytest.param("[providers\n", ["is not TOML", "line 1"], id="no TOML"),
    pytest.param(
        GOOD.replace("max_output_tokens", "max_ouput_tokens"),
        ["experts.fast.max_ouput_tokens: Extra inputs are not permitted"],
        id="a misspelt key",
    ),
    pytest.param(
        GOOD.replace("max_output_tokens = 1000\n", ""),
        ["experts.fast.max_output_tokens: Field required"],
        id="an expert without a bound",
    ),
    pytest.param(
        GOOD.replace('input_usd_per_mtok = "0.15"\n', ""),
        ["experts.fast.input_usd_per_mtok: Field required"],
        id="an expert without a price",
    ),
    pytest.param(
        GOOD.replace('"0.15"', "0.15"),
        ["experts.fast.input_usd_per_mtok", "in quotes"],
        id="a price that is a float",
    ),
    pytest.param(
        GOOD.replace('"0.15"', '"-1"'),
        ["experts.fast.input_usd_per_mtok", "not negative"],
        id="a negative price",
    ),
    pytest.param(
        GOOD.replace('provider = "main"', 'provider = "mian"'),
        ["experts.fast.provider: no provider 'mian'"],
        id="an expert of an unknown provider",
    ),
    pytest.param(
        GOOD.replace('default_expert = "fast"', 'default_expert = "slow"'),
        ["policies.default: no expert 'slow'"],
        id="a policy of an unknown expert",
    ),
    pytest.param(
        GOOD.replace("[policies.default]", "[policies.other]"),
        ["policies.default: is missing"],
        id="no default policy",
    ),
    pytest.param(
        GOOD.replace('kind = "openai"', 'kind = "openia"'),
        ["providers.main", "'openia'", "'replay', 'openai', 'anthropic', 'gemini'"],
        id="an unknown kind of provider",
    ),
    pytest.param(
        GOOD + "deadline_s = 0\n",
        ["policies.default.deadline_s", "greater than 0"],
        id="a deadline of nothing",
    ),
    pytest.param(
        GOOD + 'auto_cap_usd = "ten"\n',
        ["policies.default.auto_cap_usd", "not a decimal amount"],
        id="an amount in words",
    ),
    pytest.param(
        GOOD + "deadline_s = nan\n",
        ["policies.default.deadline_s: Input should be"],
        id="a deadline that is no number",
    ),
    pytest.param(
        GOOD + 'search_experts = ["fast", "fast"]\n',
        ["policies.default.search_experts: one is named twice"],
        id="an expert named twice",
    ),
    pytest.param(
        GOOD.replace("[experts.fast]", '[experts."fast one"]'),
        ["experts.fast one", "a name of letters, digits and - _ . /"],
        id="a name with a space",
    ),
    pytest.param(
        GOOD.replace('"0.60"', '"0.0000000001"'),
        ["experts.fast.output_usd_per_mtok", "at most nine decimals"],
        id="less than a nano-dollar",
    ),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: list[str]) -> None:
    """The message has the file, the key and what was expected there."""
    path = tmp_path / "fathom.toml"
    path.write_text(text)
    with pytest.raises(BadConfiguration) as refused:
        read_config(path)
    for part in [str(path), *said]:
        assert part in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """So is a path that cannot be read."""
    with pytest.raises(BadConfiguration, match=r"nowhere\.toml: cannot be read: No such file"):
        read_config(tmp_path / "nowhere.toml")


async def test_a_secret_that_the_environment_lacks_is_named(tmp_path: Path) -> None:
    """The file names the variable; a gateway without the secret does not start."""
    path = tmp_path / "fathom.toml"
    path.write_text(GOOD.replace('/v1"', '/v1"\napi_key_env = "NO_SUCH_VARIABLE"'))
    config = read_config(path).providers["main"]
    with pytest.raises(BadConfiguration, match=r"providers\.main: api_key_env: .*NO_SUCH_VARIABLE"):
        open_provider("main", config)


def test_a_parameter_that_the_gateway_sets_itself_is_refused(tmp_path: Path) -> None:
    """Whoever could set `n` or `stream` could make a call cost more than its worst case."""
    path = tmp_path / "fathom.toml"
    path.write_text(GOOD.replace('model = "m"', 'model = "m"\nparameters = { n = 5 }'))
    with pytest.raises(BadConfiguration, match=r"experts\.fast: .*n\b"):
        make_expert("fast", read_config(path).experts["fast"], kind="openai")


@pytest.mark.parametrize(
    ("kind", "parameters", "says"),
    [
        ("anthropic", "{ tools = [] }", "tools"),
        ("gemini", "{ generationConfig = { maxOutputTokens = 5 } }", "maxOutputTokens"),
    ],
)
async def test_vendors_have_addresses_and_parameters_of_their_own(
    tmp_path: Path, kind: str, parameters: str, says: str
) -> None:
    """Their public addresses need not be written down; what may not be set, each has its own."""
    path = tmp_path / "fathom.toml"
    text = GOOD.replace('"openai"', f'"{kind}"').replace(
        'base_url = "https://models.example/v1"', ""
    )
    path.write_text(text.replace('model = "m"', f'model = "m"\nparameters = {parameters}'))
    config = read_config(path)
    await open_provider("main", config.providers["main"]).aclose()
    with pytest.raises(BadConfiguration, match=rf"experts\.fast: .*{says}: set by Fathom"):
        make_expert("fast", config.experts["fast"], kind=kind)


def test_the_packaged_configuration_is_complete() -> None:
    """Without a file the gateway serves the demonstration."""
    config = read_config(None)
    assert set(config.policies) == {"default"}
    assert set(config.experts) == {"gpt-4-io", "gpt-4-cot"}


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    """An error is worth $0.05; a solve costs at most $0.10, a forced search $0.50; 60 seconds."""
    path = tmp_path / "fathom.toml"
    path.write_text(GOOD)
    policy = read_config(path).policies["default"]
    assert (policy.value_usd, policy.auto_cap_usd, policy.search_cap_usd) == (
        50_000_000,
        100_000_000,
        500_000_000,
    )
    assert policy.deadline_s == 60


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    """TOML is UTF-8 whatever this machine's locale is."""
    path = tmp_path / "fathom.toml"
    path.write_bytes(GOOD.replace("fast", "fä").encode("latin-1"))
    with pytest.raises(BadConfiguration, match=r"fathom\.toml: is not UTF-8"):
        read_config(path)


def _environment(**variables: str) -> str:
    """What a process with these variables says of its settings."""
    program = (
        "from app.settings import BadConfiguration, read_settings\n"
        "try:\n    print(read_settings())\n"
        "except BadConfiguration as refused:\n    print(refused)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={name: text for name, text in os.environ.items() if "FATHOM_" not in name} | variables,
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return done.stdout


def test_the_environment_is_read_once_with_its_mistakes_named() -> None:
    """Every variable that is wrong, each on a line; a URL, which may hold a password, never."""
    said = _environment(
        FATHOM_PORT="high",
        FATHOM_LEASE_S="nan",
        FATHOM_LOG_FORMAT="xml",
        FATHOM_DATABASE_URL="postgresql://fathom:hunter2@db/fathom",
        FATHOM_REDIS_URL="db.example:6379",
    ).splitlines()
    assert [line.split(": ")[:2] for line in said] == [
        ["environment", f"FATHOM_{name}"]
        for name in ("DATABASE_URL", "REDIS_URL", "PORT", "LEASE_S", "LOG_FORMAT")
    ]
    assert "sqlite+aiosqlite:// or postgresql+asyncpg://" in said[0]
    assert "redis:// or rediss:// or unix://" in said[1]
    assert "hunter2" not in "".join(said)


def test_without_an_environment_the_gateway_is_embedded_and_local() -> None:
    """Nothing to install, and nobody from outside."""
    said = _environment()
    for part in ("sqlite+aiosqlite:///fathom.db", "redis_url=None", "'127.0.0.1'", "port=8080"):
        assert part in said
