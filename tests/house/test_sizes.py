"""Limits on size and on names, so that a stranger can read any part of app/ at one sitting."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# Names that say where code was put and not what it is for.
EMPTY_NAMES = {"common", "core", "helpers", "models", "services", "utils"}


def modules() -> list[Path]:
    """Every Python file of the package; never none, or the rules would hold of nothing."""
    found = sorted((ROOT / "app").rglob("*.py"))
    assert found
    return found


def test_no_module_is_longer_than_400_lines() -> None:
    """A module that outgrows its idea is split."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert not [f"{path}: {n} lines" for path, n in lengths.items() if n > MODULE_LINES_MAX]


def test_no_function_is_longer_than_60_lines() -> None:
    """A function fits on a screen, its docstring included."""
    too_long = [
        f"{path}:{node.lineno}: {node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert not too_long


def test_no_folder_has_an_empty_name() -> None:
    """A folder is named for a capability."""
    tops = [ROOT / top for top in ("app", "benchmarks", "migrations", "tests")]
    folders = [folder for top in tops for folder in top.rglob("*") if folder.is_dir()]
    assert not [folder for folder in folders if folder.name in EMPTY_NAMES]
