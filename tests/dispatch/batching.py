"""Batches as their tenant sends and reads them."""

import asyncio
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import httpx

from tests.gateway import Json

ENDED_S: Final = 60.0
OVER: Final = {"completed", "expired", "cancelled"}

_numbers = itertools.count()


def line(custom_id: str, **body: Any) -> Json:  # noqa: ANN401 - JSON
    """A line that asks for one call, unless `body` says otherwise."""
    document = {"input": f"What is {custom_id}?", "mode": "single", "seed": 1} | body
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/solve", "body": document}


def lines(count: int, **body: Any) -> list[Json]:  # noqa: ANN401 - JSON
    """Lines called `q0`, `q1` and so on."""
    return [line(f"q{number}", **body) for number in range(count)]


async def send(
    client: httpx.AsyncClient,
    sent: Iterable[Json | str],
    *,
    cap: str = "10",
    key: str | None = None,
    **more: str,
) -> httpx.Response:
    """Post a batch under a key of its own; a line may be text that is no JSON."""
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in sent)
    return await client.post(
        "/v1/batches",
        params={"max_cost_usd": cap} | more,
        content=text,
        headers={
            "Content-Type": "application/jsonl",
            "Idempotency-Key": f"batch-{next(_numbers)}" if key is None else key,
        },
    )


async def sent(
    client: httpx.AsyncClient, asked: Iterable[Json | str], *, cap: str = "10", **more: str
) -> Json:
    """The batch object, where it must be accepted."""
    response = await send(client, asked, cap=cap, **more)
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


async def read(client: httpx.AsyncClient, batch: Json) -> Json:
    """The batch as it stands."""
    document: Json = (await client.get(batch["links"]["self"])).raise_for_status().json()
    return document


async def over(client: httpx.AsyncClient, batch: Json) -> Json:
    """The batch once it has ended."""
    async with asyncio.timeout(ENDED_S):
        while (found := await read(client, batch))["status"] not in OVER:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def output(client: httpx.AsyncClient, batch: Json) -> Sequence[Json]:
    """Its output, line by line."""
    response = (await client.get(batch["links"]["output"])).raise_for_status()
    assert response.headers["content-type"] == "application/jsonl"
    return [json.loads(one) for one in response.text.splitlines()]
