"""No text, key or answer reaches the log: a real process, every mode, and all that can go wrong.

Each text that a caller, a model or a vendor brings carries a mark of its own, so that a leak says
where it came from.
"""

import asyncio
import json
import signal
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.accounts import Allowance, open_tenant
from app.ledger.periods import Period
from app.money import from_usd
from tests.backends import opened
from tests.gateway import Json
from tests.providers.upstream import KEY, Act, Asked, Part, completion, error, respond, upstream
from tests.solve.detached import ended
from tests.solve.serving import gateway_process

PROBLEM: Final = "Mark-problem-5d1e"
INSTRUCTIONS: Final = "Mark-instructions-77aa"
EXPECTED: Final = "Mark-expected-90c3"
ANSWER: Final = "Mark-answer-2f4b"
QUOTED: Final = "Mark-quoted-8e6d"
NAME: Final = "Mark-metadata-key-11f0"
VALUE: Final = "Mark-metadata-value-c2b9"
ORDER: Final = "Mark-idempotency-key-3a7c"
HEADER: Final = "Mark-header-64d8"
FIELD: Final = "Mark-field-b05e"
WRONG: Final = "Mark-wrong-key-e913"

MARKS: Final = (
    PROBLEM,
    INSTRUCTIONS,
    EXPECTED,
    ANSWER,
    QUOTED,
    NAME,
    VALUE,
    ORDER,
    HEADER,
    FIELD,
    WRONG,
    "Mark-",
    KEY,
)

CONFIG: Final = """
[providers.vendor]
kind = "openai"
base_url = "{base_url}"
api_key_env = "VENDOR_API_KEY"

[experts.cheap]
provider = "vendor"
model = "cheap"
max_output_tokens = 300
input_usd_per_mtok = "1"
output_usd_per_mtok = "10"

[experts.strong]
provider = "vendor"
model = "strong"
max_output_tokens = 300
input_usd_per_mtok = "1"
output_usd_per_mtok = "10"

[policies.default]
default_expert = "cheap"
strong_expert = "strong"
search_experts = ["cheap", "strong"]
"""

SEARCH: Final[Json] = {"mode": "search", "search": {"max_nodes": 3, "concurrency": 2}}
EXACT: Final[Json] = {"evaluators": [{"type": "exact", "config": {"expected": EXPECTED}}]}
GRADED: Final[Json] = {
    "evaluators": [
        {"type": "exact", "config": {"expected": EXPECTED}},
        {"type": "choice", "config": {"options": [EXPECTED, ANSWER], "expected": "B"}},
    ],
    "combine": "any",
}
MODES: Final[tuple[Json, ...]] = (
    {"mode": "single"},
    {"mode": "auto"},
    {"mode": "auto", "gate": {"second_opinion": "always"}},
    {"mode": "auto"} | EXACT,
    SEARCH | EXACT,
    SEARCH | GRADED,
    {"mode": "single", "store": False},
    SEARCH | EXACT | {"store": False, "include": ["candidates"]},
)
FAULTS: Final = ("refuse", "overload", "garbage", "cut", "empty")


def _vendor(asked: Asked) -> Act:
    """An answer, or the fault that the problem asks for, quoting what it was sent."""
    sent = json.dumps(asked.document["messages"])
    said = f"{QUOTED}: {sent}"
    if "fault:refuse" in sent:
        return respond(error(said, "invalid_prompt"), status=400)
    if "fault:overload" in sent:
        busy = error(said, "overloaded", kind="server_error")
        return respond(busy, status=503, headers={"retry-after": "0"})
    if "fault:garbage" in sent:
        return respond(body=f"<html>{said}</html>".encode())
    if "fault:cut" in sent:
        return Part(respond(completion(f"{ANSWER} {said}"))[:-40])
    if "fault:empty" in sent:
        return respond(completion(None))
    if "fault:silence" in sent:
        return Part(b"", then="silence")
    return respond(completion(f"It is\n{ANSWER}-{len(sent)}"))


def _well(_asked: Asked) -> Act:
    return respond(completion(f"It is\n{ANSWER}"))


def _body(more: Json, *, fault: str | None = None) -> Json:
    problem = PROBLEM if fault is None else f"{PROBLEM} fault:{fault}"
    document = {"input": problem, "instructions": INSTRUCTIONS, "seed": 1}
    return document | {"metadata": {NAME: VALUE}} | more


async def _ask_everything(client: httpx.AsyncClient) -> list[int]:
    """Every mode, every fault, and what else can be sent: the statuses."""
    told = [await client.post("/v1/solve", json=_body(mode)) for mode in MODES]
    short: Json = SEARCH | EXACT | {"search": {"max_nodes": 1, "concurrency": 1}}
    told += [
        await client.post("/v1/solve", json=_body(mode, fault=fault))
        for fault in FAULTS
        for mode in (MODES[0], short)
    ]
    hurried: Json = {"budget": {"deadline_ms": 300}}
    told.append(await client.post("/v1/solve", json=_body(MODES[0] | hurried, fault="silence")))
    told.append(await client.post("/v1/solve/estimate", json=_body({})))
    left, order = _body(MODES[0], fault="silence"), {"Idempotency-Key": ORDER}
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v1/solve", json=left, headers=order, timeout=0.5)
    told += await _send_again(client)
    told += await _go_on(client)
    told += await _send_nonsense(client)
    return [response.status_code for response in told]


async def _send_again(client: httpx.AsyncClient) -> list[httpx.Response]:
    keys = {"Idempotency-Key": f"{ORDER}-2"}
    return [
        await client.post("/v1/solve", json=_body(MODES[0]), headers=keys),
        await client.post("/v1/solve", json=_body(MODES[0]), headers=keys),
        await client.post("/v1/solve", json=_body(MODES[1]), headers=keys),
        await client.post("/v1/solve", json=_body({}), headers={"Idempotency-Key": ORDER * 20}),
    ]


async def _go_on(client: httpx.AsyncClient) -> list[httpx.Response]:
    """What is done with solves that there are."""
    search = (await client.post("/v1/solve", json=_body(SEARCH | EXACT))).json()
    self = search["links"]["self"]
    told = [
        await client.get(self),
        await client.get(search["links"]["tree"]),
        await client.get(search["links"]["tree"], params={"format": FIELD}),
        await client.get(search["links"]["events"]),
        await client.get(search["links"]["events"], headers={"Last-Event-ID": HEADER}),
        await client.post(f"{self}/resume", json={"budget": {}}),
        await client.post(f"{self}/resume", json={"budget": {}, FIELD: FIELD}),
        await client.post("/v1/solve", json={"replay_of": search["id"], "metadata": {NAME: VALUE}}),
        await client.post("/v1/solve", json={"replay_of": FIELD, FIELD: FIELD}),
        await client.post("/v1/solve", json={"replay_of": FIELD}),
        await client.get("/v1/solves", params={"metadata_key": NAME, "metadata_value": VALUE}),
        await client.get("/v1/solves", params={"after": f"{FIELD} "}),
        await client.get("/v1/usage", params={"group_by": FIELD}),
    ]
    silent = _body(MODES[0] | {"background": True}, fault="silence")
    begun = await client.post("/v1/solve", json=silent, headers={"Idempotency-Key": f"{ORDER}-3"})
    return [*told, begun, await client.post(f"{begun.headers['Location']}/cancel")]


async def _send_nonsense(client: httpx.AsyncClient) -> list[httpx.Response]:
    as_json = {"Content-Type": "application/json"}
    return [
        await client.post("/v1/solve", json=_body({FIELD: FIELD})),
        await client.post("/v1/solve", json=_body({"experts": [FIELD]})),
        await client.post("/v1/solve", json=_body({"mode": FIELD})),
        await client.post("/v1/solve", json=_body({"budget": {"max_cost_usd": "0.000000001"}})),
        await client.post("/v1/solve", json=_body({"evaluators": [{"type": FIELD}]})),
        await client.post("/v1/solve", content=f'{{"input": "{PROBLEM}', headers=as_json),
        await client.post("/v1/solve", content=PROBLEM, headers={"Content-Type": FIELD}),
        await client.post("/v1/solve", json=_body({}), headers={"Authorization": WRONG}),
        await client.post(
            "/v1/solve", json=_body({}), headers={"Authorization": f"Bearer {WRONG}"}
        ),
        await client.get(f"/v1/solves/{FIELD}"),
        await client.post(f"/v1/solves/{FIELD}/resume", json={"budget": {}}),
        await client.get(f"/{FIELD}", params={FIELD: FIELD}),
        await client.request("PROPFIND", f"/{FIELD}"),
        await client.request("PROPFIND", "/v1/solve", params={FIELD: FIELD}),
    ]


async def test_nothing_that_is_said_reaches_the_log(
    database_url: str, redis_url: str | None, tmp_path: Path
) -> None:
    """At the level that tells most; from the first request to a solve that another finishes."""
    embedded, said = database_url.startswith("sqlite"), tmp_path / "said"
    # Each form of the log once, for it is a matter of the process and not of its database.
    form, tree_store = ("json", None) if embedded else ("console", redis_url)
    allowance = Allowance(limit=from_usd("20"), period=Period.TOTAL)
    async with opened(database_url) as database, upstream(_vendor) as vendor:
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        config = tmp_path / "fathom.toml"
        config.write_text(CONFIG.format(base_url=vendor.base_url))
        headers = {
            "Authorization": f"Bearer {account.key}",
            "User-Agent": HEADER,
            "X-Request-Id": HEADER,
            "traceparent": HEADER,
            "tracestate": HEADER,
            "Cookie": HEADER,
        }

        served = partial(
            gateway_process,
            config,
            database_url=database_url,
            redis_url=tree_store,
            said=said,
            VENDOR_API_KEY=KEY,
            FATHOM_LOG_LEVEL="debug",
            FATHOM_LOG_FORMAT=form,
            FATHOM_DRAIN_LINGER_S="0.2",
        )
        async with (
            served() as (process, address),
            httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as client,
        ):
            statuses = await _ask_everything(client)
            left = _body(SEARCH | EXACT | {"background": True}, fault="silence")
            order = {"Idempotency-Key": f"{ORDER}-4"}
            accepted = await client.post("/v1/solve", json=left, headers=order)
            await vendor.until(lambda seen: seen.in_flight >= 1)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 30) == 0
        vendor.script = _well
        async with (
            served() as (_, address),
            httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as client,
        ):
            result = await ended(client, accepted.headers["Location"])
            assert result["output_text"] == f"It is\n{ANSWER}"
    assert {200, 202, 400, 401, 402, 403, 404, 405, 415, 422, 502, 503, 504} <= set(statuses)
    heard = said.read_text()
    for status in ("completed", "incomplete", "failed", "cancelled"):
        assert status in heard
    assert len(heard.splitlines()) > len(statuses)
    secret = account.key.split("_", 2)[2]
    assert [mark for mark in (*MARKS, account.key, secret) if mark in heard] == []
