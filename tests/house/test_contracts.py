"""The import contracts must hold, and must be able to fail: each rule is shown a breach of it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = "Imports point downwards"
PURE = "The core waits for nothing and reads no clock"
METERED = "Gate and evaluators reach models only through the meter"

# What is added to which file, and the contract that this breaks.
BREACHES = [
    pytest.param({"search/__init__.py": "import asyncio"}, PURE, id="core imports asyncio"),
    pytest.param(
        {"search/__init__.py": "import app.errors", "errors.py": "import time"},
        PURE,
        id="core reaches a clock through another module",
    ),
    pytest.param({"helpers/__init__.py": ""}, LAYERS, id="folder that no layer declares"),
    pytest.param({"errors.py": "import app.db"}, LAYERS, id="import that points upwards"),
    pytest.param({"store/__init__.py": "import app.ledger"}, LAYERS, id="import of a neighbour"),
    pytest.param({"gate/__init__.py": "import app.providers"}, METERED, id="gate calls a provider"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run lint-imports on the copy of app/ in `folder`."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the contracts are about, to be spoilt."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(checkout: Path) -> None:
    """The code as it stands keeps every contract."""
    linted = lint(checkout)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(("additions", "contract"), BREACHES)
def test_breach_is_found(checkout: Path, additions: dict[str, str], contract: str) -> None:
    """One import too many breaks the contract that forbids it."""
    for name, text in additions.items():
        path = checkout / "app" / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}\n")

    linted = lint(checkout)

    assert linted.returncode == 1
    assert f"{contract} BROKEN" in linted.stdout, linted.stdout + linted.stderr
