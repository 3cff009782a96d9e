"""What a serving process carries: no package that only trains."""

import subprocess
import sys

import pytest

TRAINERS = ("sklearn", "scipy", "pandas", "pyarrow", "torch")


@pytest.mark.parametrize("module", ["app.main", "app.server", "app.wiring"])
def test_serving_imports_no_package_that_trains(module: str) -> None:
    """The gate decides and learns with numpy alone."""
    code = f"import sys, {module}; print([name for name in {TRAINERS} if name in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.stdout.strip() == "[]", told.stderr
