"""The lock must install the same bytes for everyone, wherever they fetch them from."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pins() -> list[str]:
    """The lock's requirements, each with its hashes on one line; comments are left out."""
    lines = [line for line in LOCK.splitlines() if not line.lstrip().startswith("#")]
    return [pin for pin in "\n".join(lines).replace("\\\n", " ").splitlines() if pin.strip()]


def locked() -> dict[str, Requirement]:
    """The locked requirements by canonical name."""
    requirements = [Requirement(pin.partition("--hash")[0]) for pin in pins()]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def missing(wanted: list[str]) -> list[str]:
    """Those of `wanted` that the lock does not pin, or pins to a version they do not allow."""
    lock = locked()
    absent: list[str] = []
    for text in wanted:
        requirement = Requirement(text)
        pin = lock.get(canonicalize_name(requirement.name))
        version = None if pin is None else next(iter(pin.specifier)).version
        if version is None or not requirement.specifier.contains(version):
            absent.append(text)
    return absent


def test_every_requirement_is_pinned_and_hashed() -> None:
    """A pin has one exact version and at least one SHA-256."""
    pinned = re.compile(r"[\w.-]+==\S+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")
    assert pins()
    assert not [pin for pin in pins() if not pinned.fullmatch(pin)]


def test_lock_names_no_place_to_fetch_from() -> None:
    """No address, path or index option of whoever made the lock leaks into it."""
    assert not re.findall(r"://|file:|index-url|find-links|trusted-host|\s@\s|(?<!\w)/\w", LOCK)


def test_lock_covers_the_dependencies_of_the_project() -> None:
    """What users install is locked, at a version that pyproject.toml allows."""
    assert not missing(PYPROJECT["project"]["dependencies"])


def test_lock_covers_the_tools_of_its_developers() -> None:
    """So is what they build and test with."""
    assert not missing(PYPROJECT["dependency-groups"]["dev"])


def test_lock_is_light_enough_for_a_laptop() -> None:
    """The default install brings no training framework."""
    assert not {"torch", "tensorflow", "jax"} & locked().keys()
