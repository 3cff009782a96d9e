"""`fathom eval tasks` and `fathom eval run`: two commands from recordings to a report."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.data.game24 import puzzles
from app.errors import GatewayError, InvalidRequest
from app.evaluation.asking import ComparisonStopped
from app.evaluation.replayable import SETS
from app.evaluation.results import read_results
from tests.evaluation.replays import write_recordings
from tests.solve.serving import gateway_process, slow_config

FATHOM = str(Path(sys.executable).with_name("fathom"))
PROBLEMS = 12
WAIT_S = 60.0


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["eval", *arguments])


@pytest.fixture
def replayed(tmp_path: Path) -> Path:
    """What `fathom eval tasks` makes of recordings of all ten models."""
    models = SETS["rg-easy"].models
    data = write_recordings(tmp_path / "recorded", problems=PROBLEMS + 1, models=models)
    out = tmp_path / "replayed"
    done = _run("tasks", "--data", str(data), "--out", str(out), "--evaluator", "exact")
    assert done.exit_code == 0, done.output
    assert f"{PROBLEMS} problems, 3 models" in done.stderr
    return out


def _asked(replayed: Path, strategies: str, *more: str, tasks: str = "tasks.jsonl") -> list[str]:
    files = ["--tasks", str(replayed / tasks), "--config", str(replayed / "fathom.toml")]
    return ["run", *files, "--strategies", strategies, *more]


def test_two_commands_lead_from_recordings_to_a_report(replayed: Path, tmp_path: Path) -> None:
    """The strong call is dearer and better, and a search with a verifier no worse than one call."""
    out = tmp_path / "out"
    bound = ("--match", "cost", "--budget", "0.05,0.20", "--out", str(out))
    strategies = "single:llama-4-maverick,gate,search,best_of_n"
    done = _run(*_asked(replayed, strategies, *bound, "--warm-up", "2", "--seed", "3"))
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(out / "report.html")
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["tasks"] == PROBLEMS - 2
    assert report["matched"]["by"] == "cost"
    assert report["baseline"] == "single:llama-4-maverick"
    accuracy = {
        arm["strategy"]: arm["accuracy"]["value"]
        for arm in report["arms"]
        if arm["budget"] == "0.20"
    }
    cost = {arm["strategy"]: arm["cost_usd"]["value"] for arm in report["arms"]}
    assert accuracy["strong"] > accuracy["single:llama-4-maverick"]
    assert cost["strong"] > cost["single:llama-4-maverick"]
    assert accuracy["best_of_n"] >= accuracy["single:llama-4-maverick"]
    assert len(read_results(out / "results.csv")) == PROBLEMS * 5 * 2
    assert (out / "report.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("tasks", "strategies"),
    [("tasks-final.jsonl", "gate,parallel"), ("tasks.jsonl", "search,parallel")],
)
def test_scores_of_the_recordings_grade(tmp_path: Path, tasks: str, strategies: str) -> None:
    """Whether the verifier is shown to a strategy, or only grades what came out."""
    models = SETS["rg-easy"].models
    data = write_recordings(tmp_path / "recorded", models=models)
    out = tmp_path / "replayed"
    made = _run("tasks", "--data", str(data), "--out", str(out), "--models", "10")
    assert made.exit_code == 0, made.output
    asked = _asked(out, strategies, tasks=tasks)
    bound = ("--match", "calls", "--budget", "4", "--out", str(tmp_path / "out"))
    done = _run(*asked, *bound)
    assert done.exit_code == 0, done.output
    rows = read_results(tmp_path / "out" / "results.csv")
    strong = [row.score for row in rows if row.strategy == "strong" and row.task != "p1"]
    assert strong == [1.0, 1.0]
    assert all(row.right is not None for row in rows)


def test_interrupted_run_goes_on_where_it_stopped(replayed: Path, tmp_path: Path) -> None:
    """Ctrl-C keeps what is done and says how to go on; nothing is done twice."""
    config, out = replayed / "fathom.toml", tmp_path / "out"
    quick = config.read_text("utf-8")
    config.write_text(quick.replace('kind = "replay"', 'kind = "replay"\nlatency_s = 0.2'), "utf-8")
    bound = ("--match", "cost", "--budget", "0.05", "--out", str(out), "--concurrency", "1")
    asked = _asked(replayed, "single:llama-4-maverick,gate", *bound)
    running = subprocess.Popen(
        [FATHOM, "eval", *asked],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
    )
    results = out / "results.csv"
    ends_at = time.monotonic() + WAIT_S
    while not (results.exists() and results.read_text("utf-8").count("\n") > 2):
        assert time.monotonic() < ends_at
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=WAIT_S)
    assert running.returncode == 130, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    kept = read_results(results)
    assert 2 <= len(kept) < PROBLEMS * 3
    config.write_text(quick, "utf-8")
    done = _run(*asked)
    assert done.exit_code == 0, done.output
    rows = read_results(results)
    assert list(rows[: len(kept)]) == list(kept)
    assert len({row.key for row in rows}) == len(rows) == PROBLEMS * 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--match", "cost", "--budget", "much"), "budget: 'much': give dollars a task"),
        (("--match", "calls", "--budget", "3", "--cap-usd", "-1"), "cap-usd: must be more"),
        (("--match", "calls", "--budget", "3", "--limit-usd", "x"), "limit-usd: not a decimal"),
        (("--match", "calls", "--budget", "3", "--url", "http://127.0.0.1:1"), "give --url, or"),
        (("--match", "calls", "--budget", "3", "--baseline", "nobody"), "'nobody' is none of"),
    ],
)
def test_unclear_comparison_is_refused(
    replayed: Path, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    """In one line, before a gateway is opened."""
    refusal = _run(*_asked(replayed, "gate", *more, "--out", str(tmp_path / "out"))).exception
    assert isinstance(refusal, GatewayError)
    assert said in str(refusal)


async def test_gateway_that_runs_is_asked_with_a_key(tmp_path: Path) -> None:
    """Over the network, with nothing of the gateway in this process."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'served.db'}"
    create = ["tenants", "create", "acme", "--limit-usd", "5"]
    environment = {"FATHOM_DATABASE_URL": url}
    made = await asyncio.to_thread(CliRunner().invoke, app, create, env=environment)
    puzzle = puzzles()[0]
    config = {"numbers": list(puzzle.numbers), "target": 24}
    verifier = {"type": "expression", "visibility": "search", "config": config}
    line = {"id": "24", "input": puzzle.problem, "evaluators": [verifier]}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    asked = ["run", "--tasks", str(tmp_path / "tasks.jsonl"), "--strategies", "single,best_of_n"]
    bound = ["--match", "calls", "--budget", "3", "--out", str(tmp_path / "out")]
    async with gateway_process(slow_config(tmp_path, latency_s=0), database_url=url) as (_, at):
        command = [FATHOM, "eval", *asked, *bound, "--url", at]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            env=os.environ | {"FATHOM_API_KEY": made.stdout.strip()},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    rows = read_results(tmp_path / "out" / "results.csv")
    assert {row.strategy for row in rows} == {"single", "best_of_n", "strong"}
    assert {row.expert.partition("@")[0] for row in rows if row.strategy == "strong"} == {
        "gpt-4-cot"
    }
    assert all(row.calls <= 3 for row in rows)


@pytest.mark.parametrize("key", ["fathom_keyx_y", None])
def test_running_gateway_needs_an_address_and_a_key(
    replayed: Path, tmp_path: Path, key: str | None
) -> None:
    """One that is not there is named with what to do about it."""
    asked = ["run", "--tasks", str(replayed / "tasks.jsonl"), "--strategies", "gate"]
    bound = ["--match", "calls", "--budget", "3", "--out", str(tmp_path / "out")]
    where = ["--url", "http://127.0.0.1:1"] + (["--key", key] if key else [])
    environment = {"FATHOM_API_KEY": ""}
    refused = CliRunner().invoke(app, ["eval", *asked, *bound, *where], env=environment).exception
    assert isinstance(refused, ComparisonStopped if key else InvalidRequest)
    assert ("is `fathom serve` running?" if key else "FATHOM_API_KEY") in str(refused)


@pytest.mark.parametrize(
    "arguments", [("--set", "other"), ("--models", "11"), ("--evaluator", "guess")]
)
def test_unknown_recordings_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """With what there is."""
    refusal = _run("tasks", "--data", str(tmp_path), "--out", str(tmp_path), *arguments).exception
    assert isinstance(refusal, InvalidRequest)
