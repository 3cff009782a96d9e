"""A client that asks: as fast as it is answered, or at a steady rate whatever the answers take."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Final

import aiohttp

from benchmarks.overhead.servers import Server

BODY: Final = json.dumps(
    {
        "input": "What is 17 * 23? Explain each step, and end with the number alone. " * 4,
        "mode": "single",
    }
).encode()


class Client:
    """Sends one problem over and over, on kept connections."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self._session, self._url = session, f"{server.address}/v1/solve"
        self._headers = {
            "authorization": f"Bearer {server.key}",
            "content-type": "application/json",
        }

    async def ask(self) -> None:
        """One request; its answer must be one."""
        async with self._session.post(self._url, data=BODY, headers=self._headers) as response:
            answer = await response.read()
            if response.status != 200:
                raise SystemExit(f"{self._url} answered {response.status}: {answer[:500]!r}")

    async def saturate(self, requests: int, *, concurrency: int) -> float:
        """Seconds that so many requests took with so many always in flight."""
        remaining = iter(range(requests))

        async def work() -> None:
            for _ in remaining:
                await self.ask()

        started = time.perf_counter()
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(work())
        return time.perf_counter() - started

    async def steady(self, requests: int, *, rate: float) -> Sequence[float]:
        """Seconds that each request took from when it was due, so that a stall is not forgiven."""
        first = time.perf_counter() + 0.1

        async def ask_at(due: float) -> float:
            await asyncio.sleep(due - time.perf_counter())
            await self.ask()
            return time.perf_counter() - due

        async with asyncio.TaskGroup() as asking:
            asked = [asking.create_task(ask_at(first + n / rate)) for n in range(requests)]
        return [one.result() for one in asked]


def session() -> aiohttp.ClientSession:
    """Connections that are kept, as many as are asked for."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )
