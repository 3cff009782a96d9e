"""The image and the stack: what they copy exists, what they run is pinned, no secret is in them."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.locked import BUILDER, PROJECT, needed, pins
from tests.backends import skip

ROOT = Path(__file__).parents[2]
LOCK = pins((ROOT / "requirements.lock").read_text("utf-8"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
EXAMPLE = (ROOT / "deploy" / ".env.example").read_text("utf-8")


def names(requirements: list[str]) -> set[str]:
    """The packages that these ask for."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_the_image_gets_what_the_gateway_needs_and_no_tool() -> None:
    """Of the lock, which has both."""
    runtime = {pin.name for pin in needed(LOCK, [PROJECT])}
    assert names(PYPROJECT["project"]["dependencies"]) <= runtime
    assert {"starlette", "pydantic-core", "hiredis", "uvloop"} <= runtime
    tools = names(PYPROJECT["dependency-groups"]["dev"]) - names(
        PYPROJECT["project"]["dependencies"]
    )
    assert not (tools - {"anyio", "pyyaml"}) & runtime


def test_the_wheel_is_made_by_what_the_lock_pins() -> None:
    """The builder and what it needs itself."""
    build = {pin.name for pin in needed(LOCK, [BUILDER])}
    assert {"hatchling", "pathspec", "pluggy"} <= build
    assert "fastapi" not in build


def test_every_pin_keeps_its_hashes() -> None:
    """An installation that requires them refuses one without."""
    for pin in LOCK.values():
        assert re.fullmatch(
            r"[\w.-]+==\S+( ; [^\\]+)?( \\\n +--hash=sha256:[0-9a-f]{64})+", pin.lines.rstrip()
        )


def test_the_image_copies_what_is_there_and_not_ignored() -> None:
    """A path that is missing fails a build that nobody runs here."""
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    paths = {path for line in copied for path in line.split()}
    assert paths == let_in
    assert all((ROOT / path).exists() for path in paths)


def test_the_image_does_not_run_as_root() -> None:
    """By number, so that an orchestrator can check it."""
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert int(user.partition(":")[0]) > 0


def test_every_foreign_image_has_a_version() -> None:
    """A stack that changes by itself breaks by itself."""
    images = re.findall(r"^\s+image: (\S+)$", COMPOSE, re.MULTILINE)
    foreign = [image for image in images if image != "fathom-gateway"]
    assert len(foreign) == 4
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in [*foreign, *bases]:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\S*", image), image


def test_no_password_is_written_down() -> None:
    """Each comes from the environment, and the stack does not start without it."""
    passwords = re.findall(r"\$\{(\w*PASSWORD\w*)(\S*?)[ }]", COMPOSE)
    assert {name for name, _ in passwords} == {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    assert all(default.startswith(":?") for _, default in passwords)
    assert re.findall(r"^(\w*PASSWORD\w*)=$", EXAMPLE, re.MULTILINE) == [
        "POSTGRES_PASSWORD",
        "GRAFANA_PASSWORD",
    ]


def test_every_file_that_the_stack_mounts_is_there() -> None:
    """Docker would make an empty folder of one that is not."""
    mounted = re.findall(r"^\s+- (\./\S+?):", COMPOSE, re.MULTILINE)
    assert mounted
    assert all((ROOT / path).exists() for path in mounted)


def test_the_stack_is_one_that_compose_accepts() -> None:
    """And one that it refuses while a password is missing."""
    if (standalone := shutil.which("docker-compose")) is not None:
        compose = [standalone]
    elif (docker := shutil.which("docker")) is not None:
        compose = [docker, "compose"]
    else:
        skip("no docker-compose here; test_compose.py checks the file by itself")
    command = [*compose, "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    given = {"PATH": "/usr/bin:/bin", "POSTGRES_PASSWORD": "x", "GRAFANA_PASSWORD": "y"}
    subprocess.run(command, env=given, check=True, capture_output=True, timeout=60)
    missing = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin"}, check=False, capture_output=True, timeout=60
    )
    assert missing.returncode != 0
    assert b"POSTGRES_PASSWORD" in missing.stderr + missing.stdout or b".env" in missing.stderr
