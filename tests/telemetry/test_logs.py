"""The log: one line a request and one a solve, with ids and money, and never with a text."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.data.game24 import puzzles
from tests.solve.serving import free_port

START_S = 30.0
FATHOM = Path(sys.executable).with_name("fathom")

SECRET = "Marked-Text-7f3a"

FAULTS = f"""
import asyncio, logging
import structlog
from app.telemetry import logs

logs.configure("info", "json")
log = structlog.get_logger()

def fail(text):
    secret = text
    raise ValueError(text)

try:
    try:
        fail("{SECRET}")
    except ValueError as error:
        raise RuntimeError("about {SECRET}") from error
except RuntimeError as error:
    log.error("bug", exc_info=error)
    log.exception("bug_too")
    logging.getLogger("library").exception("failed")

async def main():
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    async def broken():
        fail("{SECRET}")
    left = asyncio.create_task(broken())
    await asyncio.sleep(0.01)
    del left

asyncio.run(main())
logging.getLogger("httpx").info("GET {SECRET}")
"""


def lines(text: str) -> list[dict[str, Any]]:
    """Every line; each must be a JSON object."""
    return [json.loads(line) for line in text.splitlines()]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a gateway said, on either stream, while it answered these requests to this key."""

    key: str
    answers: Sequence[httpx.Response]
    text: str


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """A gateway in a process of its own that is sent a marked text wherever one can be sent."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("FATHOM_")
    } | {
        "FATHOM_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'fathom.db'}",
        "FATHOM_DRAIN_LINGER_S": "0",
    }
    create = [str(FATHOM), "tenants", "create", "acme"]
    made = subprocess.run(create, env=environment, capture_output=True, text=True, check=True)
    key, said = made.stdout.split()[-1], folder / "said"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [str(FATHOM), "serve", "--port", str(port)], env=environment, stdout=file, stderr=file
        )
        try:
            wait_for(f"http://127.0.0.1:{port}", process)
            answers = ask(f"http://127.0.0.1:{port}", key)
        finally:
            process.terminate()
            process.wait(timeout=START_S)
    return Heard(key, answers, said.read_text())


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until it answers."""
    ends_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < ends_at:
        try:
            httpx.get(f"{address}/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the gateway did not start")


def ask(address: str, key: str) -> Sequence[httpx.Response]:
    """Requests that carry a marked text wherever a request can carry one."""
    body = {
        "input": f"{SECRET}: what is 17 * 23?",
        "instructions": SECRET,
        "metadata": {SECRET: SECRET},
        "mode": "single",
    }
    headers = {"Authorization": f"Bearer {key}", "User-Agent": SECRET, "traceparent": SECRET}
    with httpx.Client(base_url=address, headers=headers) as client:
        return [
            client.post("/v1/solve", json=body | {"input": puzzles()[0].problem}),
            client.post("/v1/solve", json=body),
            client.post("/v1/solve", json=body | {SECRET: SECRET}),
            client.post("/v1/solve", content=SECRET, headers={"Content-Type": "application/json"}),
            client.post("/v1/solve", json=body, headers={"Authorization": f"Bearer {SECRET}"}),
            client.get(f"/v1/solves/{SECRET}", params={"format": SECRET}),
            client.get(f"/{SECRET}"),
            client.request("PROPFIND", "/v1/solve"),
        ]


def test_a_server_logs_ids_and_never_a_text_or_a_key(heard: Heard) -> None:
    """Whatever it is sent, and however the request ends."""
    assert SECRET not in heard.text
    assert heard.key not in heard.text
    assert heard.key.split("_", 2)[2] not in heard.text
    told = lines(heard.text)
    requests = [line for line in told if line["event"] == "request"]
    by_id = {line["request_id"]: line for line in requests}
    assert len(requests) == len(by_id) == len(heard.answers)
    for answer in heard.answers:
        line = by_id[answer.headers["x-request-id"]]
        assert line["status"] == answer.status_code
        assert answer.headers["traceparent"].split("-")[1] == line["trace_id"]
    assert {line["route"] for line in requests} == {"/v1/solve", "/v1/solves/{solve_id}", "other"}
    assert {line["method"] for line in requests} == {"POST", "GET", "other"}


def test_a_solve_has_a_line_under_the_ids_of_its_request(heard: Heard) -> None:
    """So that the two can be found together."""
    told = lines(heard.text)
    solves = [line for line in told if line["event"] == "solve"]
    assert len(solves) == 2
    for solve in solves:
        request = next(
            line
            for line in told
            if line["event"] == "request" and line["request_id"] == solve["request_id"]
        )
        assert request["solve_id"] == solve["solve_id"]
        assert request["tenant_id"] == solve["tenant_id"]
        assert isinstance(solve["cost_nano"], int)
        assert {"status", "route", "calls", "ms"} <= solve.keys()
    assert {solve["status"] for solve in solves} == {"completed", "failed"}
    others = [line for line in told if line["event"] == "request" and line["status"] == 401]
    assert others
    assert not [line for line in others if "solve_id" in line]


def test_an_exception_is_told_by_its_type_and_place_alone() -> None:
    """Its message and its variables may hold a request; libraries' exceptions are no different."""
    ran = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    told = lines(ran.stderr)
    assert SECRET not in ran.stderr + ran.stdout
    assert [line["event"] for line in told] == [
        "bug",
        "bug_too",
        "failed",
        "Task exception was never retrieved",
    ]
    for line in told[:3]:
        assert line["exception"] == "builtins.RuntimeError from builtins.ValueError"
        assert line["frames"]
    assert told[3]["exception"] == "builtins.ValueError"
    assert told[3]["frames"][-1].endswith(" fail")
