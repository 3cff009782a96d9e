"""A configuration with a mistake is refused: where it is, and what was expected."""

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
        ["providers.main", "'openia'", "'replay', 'openai'"],
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
        make_expert("fast", read_config(path).experts["fast"])


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
