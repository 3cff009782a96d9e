"""The stack as the Compose Specification has it, checked without Docker: names that resolve."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # it has no stubs of its own

STACK: Final[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "docker-compose.yml").read_text("utf-8")
)
SERVICES: Final[dict[str, dict[str, Any]]] = STACK["services"]

SERVICE_KEYS: Final = frozenset(
    {
        *("build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck"),
        *("image", "networks", "ports", "read_only", "restart", "security_opt"),
        *("stop_grace_period", "tmpfs", "volumes"),
    }
)
"""Of those that the specification gives a service, the ones that this stack may use."""

HEALTHCHECK_KEYS: Final = frozenset({"disable", "interval", "retries", "test", "timeout"})
RESTARTS: Final = frozenset({"no", "always", "on-failure", "unless-stopped"})


def dependencies(service: dict[str, Any]) -> dict[str, str]:
    """What a service waits for, and until what; the short form waits for a start."""
    named: dict[str, dict[str, str]] | list[str] = service.get("depends_on", {})
    if isinstance(named, list):
        return dict.fromkeys(named, "service_started")
    return {name: wanted["condition"] for name, wanted in named.items()}


def test_the_stack_has_only_parts_that_compose_knows() -> None:
    """What it does not know it refuses; a part of our own begins with `x-`."""
    known = {"services", "networks", "volumes"}
    assert {key for key in STACK if not key.startswith("x-")} <= known


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_every_key_is_one_of_the_specification(self, name: str) -> None:
        """A misspelt health check would be none."""
        service = SERVICES[name]
        assert service.keys() <= SERVICE_KEYS
        assert service.get("healthcheck", {}).keys() <= HEALTHCHECK_KEYS
        assert service.get("restart", "no") in RESTARTS
        assert "image" in service

    def test_networks_and_volumes_are_declared(self, name: str) -> None:
        """A volume without a path before its colon is a named one."""
        service = SERVICES[name]
        assert set(service.get("networks", [])) <= STACK["networks"].keys()
        sources = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert {source for source in sources if source[0] not in "./"} <= STACK["volumes"].keys()

    def test_what_it_waits_for_can_come_about(self, name: str) -> None:
        """Health needs a check, a completion needs an end, and the two must be able to talk."""
        networks = set(SERVICES[name]["networks"])
        for other, condition in dependencies(SERVICES[name]).items():
            wanted = SERVICES[other]
            assert networks & set(wanted["networks"])
            match condition:
                case "service_healthy":
                    assert wanted["healthcheck"]["test"]
                case "service_completed_successfully":
                    assert wanted["restart"] == "no"
                case _:
                    assert condition == "service_started"

    def test_it_is_published_on_this_machine_alone(self, name: str) -> None:
        """As the file's head promises."""
        for port in SERVICES[name].get("ports", []):
            assert port.startswith("127.0.0.1:")

    def test_it_gives_each_of_its_replicas_a_port(self, name: str) -> None:
        """Or the second one would not start."""
        service = SERVICES[name]
        replicas = service.get("deploy", {}).get("replicas", 1)
        for port in service.get("ports", []):
            first, _, last = port.split(":")[1].partition("-")
            assert int(last or first) - int(first) + 1 == replicas
