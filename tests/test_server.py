"""A process that is told to end finishes what it runs, and begins nothing new."""

import asyncio
import signal
from pathlib import Path

import httpx

from app.accounts import Allowance, open_tenant
from app.data.game24 import puzzles
from app.ledger.invariants import check
from app.ledger.periods import Period
from app.money import from_usd
from tests.backends import opened
from tests.solve.serving import gateway_process, slow_config

LATENCY_S = 1.5


async def test_sigterm_drains(database_url: str, tmp_path: Path) -> None:
    """Not ready at once, new solves 503, the running one 200, exit status 0, books closed."""
    config = slow_config(tmp_path, latency_s=LATENCY_S)
    async with opened(database_url) as database:
        allowance = Allowance(limit=from_usd("20"), period=Period.TOTAL)
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        async with (
            gateway_process(config, database_url=database_url, FATHOM_DRAIN_LINGER_S="1") as (
                process,
                address,
            ),
            httpx.AsyncClient(base_url=address, timeout=30) as client,
        ):
            headers = {"Authorization": f"Bearer {account.key}"}
            body = {"input": puzzles()[0].problem, "mode": "single"}
            assert (await client.get("/readyz")).status_code == 200
            running = asyncio.create_task(client.post("/v1/solve", json=body, headers=headers))
            await asyncio.sleep(LATENCY_S / 3)
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            ready = await client.get("/readyz")
            refused = await client.post("/v1/solve", json=body, headers=headers)
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert refused.headers["retry-after"]
            assert (await running).status_code == 200
            assert await asyncio.to_thread(process.wait, 20) == 0
        assert all(finding.holds for finding in await check(database))
