"""What applications do while parts fail: ask, lose patience, ask again under the same key."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import httpx

Json = dict[str, Any]

EXACT: Final[Json] = {"evaluators": [{"type": "exact", "config": {"expected": "7"}}]}
SMALL: Final[Json] = {"search": {"max_nodes": 12, "patience": 12, "concurrency": 4}}
KINDS: Final[Sequence[Json]] = (
    {"mode": "single"},
    {"mode": "auto"} | EXACT | SMALL,
    {"mode": "search"} | EXACT | SMALL,
    {"mode": "search", "background": True} | EXACT | SMALL,
    {"mode": "parallel", "background": True, "parallel": {"k": 4, "passes": 1}} | SMALL,
)
TRIES_MAX: Final = 8


@dataclass(slots=True)
class Traffic:
    """Clients of several replicas, and what they were told.

    `solves` has the ids that each idempotency key was answered with.
    """

    addresses: Sequence[str]
    keys: Sequence[str]
    rng: Random
    statuses: Counter[str] = field(default_factory=Counter[str])
    solves: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    accepted: set[str] = field(default_factory=set[str])
    _asked: int = 0

    async def run(self, *, clients: int, seconds: float) -> None:
        """Ask until the time is up."""
        ends_at = asyncio.get_running_loop().time() + seconds
        limits = httpx.Limits(max_connections=2 * clients)
        async with (
            httpx.AsyncClient(timeout=20, limits=limits) as client,
            asyncio.TaskGroup() as crowd,
        ):
            for _ in range(clients):
                crowd.create_task(self._ask_on(client, ends_at))

    async def _ask_on(self, client: httpx.AsyncClient, ends_at: float) -> None:
        while asyncio.get_running_loop().time() < ends_at:
            await self._ask(client)
            await asyncio.sleep(self.rng.uniform(0, 0.3))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        rng = self.rng
        self._asked += 1
        name = f"order-{self._asked}"
        headers = {"Authorization": f"Bearer {rng.choice(self.keys)}", "Idempotency-Key": name}
        body = {"input": f"Which digit is {name}?", "seed": self._asked} | rng.choice(KINDS)
        for _ in range(TRIES_MAX):
            patience_s = rng.choice([0.3, 2, 20, 20])
            try:
                async with asyncio.timeout(patience_s):
                    url = f"{rng.choice(self.addresses)}/v1/solve"
                    response = await client.post(url, json=body, headers=headers)
            except (TimeoutError, httpx.TransportError) as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(rng.uniform(0.05, 0.5))
                continue
            self._note(name, response)
            if response.status_code not in (409, 429, 503):
                return
            await asyncio.sleep(rng.uniform(0.1, 1))

    def _note(self, name: str, response: httpx.Response) -> None:
        self.statuses[str(response.status_code)] += 1
        document = response.json()
        if response.is_success:
            self.solves[name].add(document["id"])
            self.accepted.add(document["id"])
