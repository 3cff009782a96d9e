"""`fathom eval`: what it writes, and what it refuses in one line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.errors import GatewayError, InvalidRequest
from tests.evaluation.recording import PRICES, rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings as they are published, in Parquet."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    (recorded / "prices.json").write_text(json.dumps(PRICES), "utf-8")
    parquet.write_table(arrow.Table.from_pylist(rows()), recorded / "zeroeval_samples.parquet")
    return recorded


def _refusal(*arguments: str) -> BaseException | None:
    return CliRunner().invoke(app, ["eval", *arguments]).exception


def test_gate_is_judged_from_a_folder(folder: Path, tmp_path: Path) -> None:
    """A report for programs and a page for people."""
    out = tmp_path / "out"
    arguments = ["--data", str(folder), "--out", str(out), "--pairs", "ZE2", "--seeds", "1"]
    done = CliRunner().invoke(app, ["eval", "gate", *arguments])
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert list(report["pairs"]) == ["ZE2"]
    assert set(report["pairs"]["ZE2"]["cost_to_recover"]) == {"50", "80", "95"}
    assert (out / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_same_problems_on_both_sides_are_refused(folder: Path, tmp_path: Path) -> None:
    """Fitting and testing on one folder would flatter."""
    both = ["--fit", str(folder), "--test", str(folder), "--out", str(tmp_path / "out")]
    assert "fitted and judged on" in str(_refusal("gate", *both, "--pairs", "ZE1"))


def test_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    """By the name of what is not there."""
    refusal = _refusal("gate", "--data", str(tmp_path), "--out", str(tmp_path))
    assert isinstance(refusal, InvalidRequest)
    assert "prices.json" in str(refusal)


@pytest.mark.parametrize(
    "arguments", [[], ["--fit", "a"], ["--data", "a", "--test", "b"], ["--pairs", "XY9"]]
)
def test_unclear_question_is_refused(arguments: list[str], tmp_path: Path) -> None:
    """Before anything is read."""
    assert isinstance(_refusal("gate", "--out", str(tmp_path), *arguments), GatewayError)


def test_certificates_are_counted() -> None:
    """A table, and exit 0 where the promise holds."""
    arguments = ["certificates", "--streams", "20", "--epsilon", "0.05"]
    done = CliRunner().invoke(app, ["eval", *arguments])
    assert done.exit_code == 0, done.output
    assert "violations" in done.stdout
