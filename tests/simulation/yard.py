"""What worlds have in common, made once a test process: the schema, the experts, the engines."""

import asyncio
import gc
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fakeredis import FakeRedis, FakeServer

from app.accounts import Allowance, open_tenant
from app.db import migrate
from app.db.engine import Database
from app.ledger.ledger import Ledger
from app.ledger.periods import Period
from app.ledger.price import Price
from app.money import from_usd
from app.telemetry.metrics import Metrics
from app.telemetry.queueing import QueueMetrics
from app.tenants.directory import Tenant
from app.tenants.policy import Expert, Policy
from tests.simulation.dialect import PORTS, Books, Port
from tests.simulation.stores import SimulatedRedis

PROVIDER: Final = "simulated"
PRICE: Final = Price(PROVIDER, "any", input=from_usd("1"), output=from_usd("10"))
EXPERTS: Final = {
    name: (Expert(name, PROVIDER, name, max_output_tokens=300), PRICE)
    for name in ("cheap", "second", "strong")
}
POLICY: Final = Policy(
    name="default",
    default_expert="cheap",
    second_opinion_expert="second",
    strong_expert="strong",
    search_experts=("cheap", "strong"),
    value=from_usd("0.02"),
    auto_cap=from_usd("0.10"),
    search_cap=from_usd("0.10"),
    deadline_s=40.0,
    concurrency=2,
)


@dataclass(frozen=True, slots=True)
class Slot:
    """The engines of one process, to be used again by a process of another world."""

    database: Database
    beats: Database
    ports: tuple[Port, Port]
    redis: SimulatedRedis


class Yard:
    """Makes and keeps what every seed needs."""

    def __init__(self) -> None:
        self._redis = FakeServer()
        self._operator = FakeRedis(server=self._redis)
        self.metrics = Metrics(version="0", experts=EXPERTS, tenants=[])
        self.queueing = QueueMetrics(self.metrics.registry)
        self._slots: list[Slot] = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "template.db"
            self.tenant = asyncio.run(_prepare(f"sqlite+aiosqlite:///{path}"))
            template = sqlite3.connect(path)
            template.execute("PRAGMA journal_mode=DELETE")
            self.books = Books(template.serialize())
            template.close()
        # What is there by now stays, and need not be looked through after every seed.
        gc.collect()
        gc.freeze()

    def forget_trees(self) -> None:
        """Lose all that Redis holds."""
        self._operator.flushall()  # pyright: ignore[reportUnknownMemberType] - untyped options

    def forget_scripts(self) -> None:
        """Lose the scripts that Redis was taught."""
        self._operator.script_flush()

    def slot(self, number: int) -> Slot:
        """The engines of the world's process of that number."""
        while number >= len(self._slots):
            names = [f"{what}-{len(self._slots)}" for what in ("ledger", "beats")]
            ports = Port(), Port()
            PORTS.update(zip(names, ports, strict=True))
            made = [Database(f"sqlite+simulated:///{name}") for name in names]
            self._slots.append(Slot(made[0], made[1], ports, SimulatedRedis(self._redis)))
        return self._slots[number]


async def _prepare(url: str) -> Tenant:
    await migrate.upgrade(url)
    database = Database(url)
    allowance = Allowance(from_usd("100"), Period.TOTAL)
    made = await open_tenant(database, name="acme", policy=POLICY.name, allowance=allowance)
    await Ledger(database).register(PRICE)
    await database.aclose()
    return Tenant(made.tenant_id, "acme", None, made.key_id, POLICY.name)
