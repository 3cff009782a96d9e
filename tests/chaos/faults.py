"""What goes wrong, one thing after another, by a seeded choice; each is over before long."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos.proxy import Proxy
from tests.chaos.replicas import Replica
from tests.servers import PostgreSQL, RedisServer

PAUSE_S: Final = (0.5, 3.0)
"""Between faults."""


@dataclass(slots=True)
class Faults:
    """The parts that can fail.

    `disk` is the folder of a small disk that PostgreSQL has to itself, where there is one.
    """

    replicas: Sequence[Replica]
    postgresql: PostgreSQL
    redis: RedisServer
    database_proxy: Proxy
    redis_proxy: Proxy
    rng: Random
    lease_s: float
    disk: Path | None
    injected: Counter[str] = field(default_factory=Counter[str])

    async def run(self, *, seconds: float) -> None:
        """Inject faults until the time is up; afterwards everything runs again."""
        ends_at = asyncio.get_running_loop().time() + seconds
        kinds = self._kinds()
        # Each once first, in some order, so that a short run has them all.
        order = self.rng.sample(sorted(kinds), len(kinds))
        while asyncio.get_running_loop().time() < ends_at:
            name = order.pop() if order else self.rng.choice(sorted(kinds))
            self.injected[name] += 1
            await kinds[name]()
            await asyncio.sleep(self.rng.uniform(*PAUSE_S))

    def _kinds(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "kill -9 of a replica": self._kill,
            "replica frozen beyond its lease": self._freeze,
            "replica drained and started again": self._drain,
            "immediate restart of PostgreSQL": self._restart_database,
            "Redis killed": self._kill_redis,
            "FLUSHALL": self.redis.empty,
            "acknowledgements of PostgreSQL lost": self._lose_database,
            "acknowledgements of Redis lost": self._lose_redis,
        }
        if self.disk is not None:
            kinds["PostgreSQL's disk full"] = self._fill_disk
        return kinds

    async def _kill(self) -> None:
        replica = self.rng.choice(self.replicas)
        replica.kill()
        await asyncio.sleep(self.rng.uniform(0, 3))
        replica.start()

    async def _freeze(self) -> None:
        replica = self.rng.choice(self.replicas)
        replica.send(signal.SIGSTOP)
        await asyncio.sleep(self.lease_s * self.rng.uniform(0.5, 2.5))
        replica.send(signal.SIGCONT)

    async def _drain(self) -> None:
        replica = self.rng.choice(self.replicas)
        replica.send(signal.SIGTERM)
        await asyncio.sleep(self.rng.uniform(0.5, 4))
        replica.kill()
        replica.start()

    async def _restart_database(self) -> None:
        self.postgresql.stop(signal.SIGQUIT)
        await asyncio.sleep(self.rng.uniform(0, 3))
        await self.postgresql.start()

    async def _kill_redis(self) -> None:
        self.redis.stop(signal.SIGKILL)
        await asyncio.sleep(self.rng.uniform(0, 3))
        await self.redis.start()

    async def _lose_database(self) -> None:
        await self.database_proxy.lose_acknowledgements()

    async def _lose_redis(self) -> None:
        await self.redis_proxy.lose_acknowledgements()

    async def _fill_disk(self) -> None:
        assert self.disk is not None, "only where there is one"
        filler = self.disk / "filler"
        with suppress(OSError), filler.open("wb") as file:
            left = os.statvfs(self.disk)
            os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize)
        await asyncio.sleep(self.rng.uniform(1, 3))
        filler.unlink()
        # It ends by itself where the log of its changes could not grow.
        if not await self.postgresql.takes_connections():
            self.postgresql.stop(signal.SIGQUIT)
            await self.postgresql.start()
