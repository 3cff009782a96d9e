"""Trace context from a caller, through the gateway, to the models; all of it over real HTTP."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.accounts import open_tenant
from app.money import from_usd
from app.telemetry.traces import Trace, parse
from tests.backends import Backends, opened
from tests.gateway import PLENTY, copied
from tests.providers.test_openai import always
from tests.providers.upstream import KEY, Asked, Part, completion, error, respond, upstream
from tests.solve.serving import gateway_process, kill_9
from tests.test_service import CONFIG, PROBLEM, Service, service

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"
GOOD: Final = respond(completion("391"))
NO_PARENTS: Final = [
    [],
    ["junk"],
    [f"00-{TRACE.upper()}-{SPAN}-01"],
    [f"00-{'0' * 32}-{SPAN}-01"],
    [f"00-{TRACE}-{'0' * 16}-01"],
    [f"ff-{TRACE}-{SPAN}-01"],
    [f"00-{TRACE}-{SPAN}-01-more"],
    [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"],
]
"""What the standard has a receiver ignore (W3C Trace Context, level 1, sections 3.2 and 4.3)."""


def span(asked: Asked) -> Trace:
    """The span that a call names as its parent; it must name one."""
    found = parse(asked.headers["traceparent"])
    assert found is not None, asked.headers["traceparent"]
    return found


async def traced(running: Service, *traceparents: str) -> tuple[Trace, list[Trace]]:
    """A solve of three calls, one of them in vain: the gateway's span, and those of its calls."""
    before = len(running.models.asked)

    def busy_at_first(_asked: Asked) -> bytes:
        if len(running.models.asked) == before + 1:
            return respond(error("no", "no"), status=429, headers={"retry-after": "0"})
        return GOOD

    running.models.script = busy_at_first
    response = await running.client.post(
        "/v1/solve",
        # Where an error costs nothing, what agrees is never asked a third time.
        json={"input": PROBLEM, "gate": {"second_opinion": "always", "value_usd": "0"}},
        headers=[("traceparent", value) for value in traceparents],
    )
    assert response.status_code == 200, response.text
    ours = parse(response.headers["traceparent"])
    assert ours is not None
    spans = [span(asked) for asked in running.models.asked[before:]]
    assert len(spans) == 3
    return ours, spans


@pytest.fixture
def sqlite_url(backends: Backends, tmp_path: Path) -> str:
    """A database of this test's own."""
    return copied(backends, tmp_path)


async def test_calls_are_spans_of_the_caller_s_trace(sqlite_url: str, tmp_path: Path) -> None:
    """Every attempt is a span of its own; a trace that cannot be continued is begun anew."""
    async with service(tmp_path, sqlite_url, None, limit=from_usd("1")) as running:
        for flags in ("00", "01"):
            ours, spans = await traced(running, f"00-{TRACE}-{SPAN}-{flags}")
            assert {one.trace_id for one in [ours, *spans]} == {TRACE}
            assert len({SPAN, ours.span_id, *(one.span_id for one in spans)}) == 5
            assert {one.sampled for one in spans} == {flags == "01"}
        begun = set[str]()
        for headers in NO_PARENTS:
            ours, spans = await traced(running, *headers)
            assert {one.trace_id for one in spans} == {ours.trace_id}
            assert len({ours.span_id, *(one.span_id for one in spans)}) == 4
            begun.add(ours.trace_id)
        assert len(begun - {TRACE}) == len(NO_PARENTS)


async def test_solve_that_is_taken_over_has_a_trace_of_its_own(
    sqlite_url: str, tmp_path: Path
) -> None:
    """The caller's went with its connection."""
    async with upstream(lambda _: Part(b"", then="silence")) as models, opened(sqlite_url) as db:
        file = tmp_path / "fathom.toml"
        file.write_text(CONFIG.replace("BASE_URL", models.base_url))
        tenant = await open_tenant(db, name="acme", policy="default", allowance=PLENTY)
        headers = {"Authorization": f"Bearer {tenant.key}"}
        gateway = gateway_process(file, database_url=sqlite_url, UPSTREAM_KEY=KEY)
        async with gateway as (process, address), httpx.AsyncClient(headers=headers) as client:
            body = {"input": PROBLEM, "mode": "single"}
            asking = asyncio.create_task(client.post(f"{address}/v1/solve", json=body))
            await models.until(lambda seen: len(seen.asked) == 1)
            kill_9(process)
            with suppress(httpx.TransportError):
                await asking
        models.script = always(completion("391"))
        async with gateway_process(file, database_url=sqlite_url, UPSTREAM_KEY=KEY):
            await models.until(lambda seen: len(seen.asked) == 2, timeout_s=30)
    first, second = map(span, models.asked)
    assert first.trace_id != second.trace_id
