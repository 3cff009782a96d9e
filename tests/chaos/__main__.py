"""Kill anything at any moment, and see whether the books still close.

    python -m tests.chaos [--seconds 120] [--seed 1] [--replicas 3] [--log FILE]

Real gateways, a PostgreSQL and a Redis of its own, a vendor that remembers what it charged, and
clients without patience. Afterwards every rule of the ledger must hold, and what the vendor charged
must be on somebody's account. Ends with `N invariants, N hold`; exit 1 where one does not.
"""

import argparse
import asyncio
import os
import subprocess
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from app.accounts import Allowance, open_tenant
from app.db import migrate
from app.db.engine import Database
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd, to_usd
from tests.chaos.audit import Sampler, books, ended, findings, reconciled
from tests.chaos.faults import Faults
from tests.chaos.proxy import proxy
from tests.chaos.replicas import Replica
from tests.chaos.traffic import Traffic
from tests.chaos.vendor import OUTPUT_TOKENS_MAX, Vendor
from tests.providers.upstream import KEY, MODEL, upstream
from tests.servers import own_postgresql, own_redis
from tests.solve.serving import free_port

LEASE_S: Final = 2.0
CLIENTS: Final = 24
LIMITS_USD: Final = ("1000", "1000", "0.5")
"""Of the tenants: the last is often out of money."""

SETTLED_S: Final = 120.0
DISK_SIZE: Final = "size=400m"

CONFIG: Final = """
[providers.upstream]
kind = "openai"
base_url = "BASE_URL"
api_key_env = "UPSTREAM_KEY"
concurrency = 400
seed_field = ""

[experts.cheap]
provider = "upstream"
model = "MODEL"
max_output_tokens = OUTPUT_TOKENS_MAX
input_usd_per_mtok = "1"
output_usd_per_mtok = "10"

[experts.strong]
provider = "upstream"
model = "MODEL"
max_output_tokens = OUTPUT_TOKENS_MAX
input_usd_per_mtok = "1"
output_usd_per_mtok = "10"
parameters = { top_p = 0.9 }

[policies.default]
default_expert = "cheap"
strong_expert = "strong"
search_experts = ["cheap", "strong"]
deadline_s = 30
"""


async def main(seconds: float, seed: int, replicas: int, log: Path) -> bool:
    """Whether every rule holds."""
    rng = Random(seed)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="fathom-chaos-")))
        output = stack.enter_context(log.open("wb"))
        disk = stack.enter_context(small_disk())
        postgresql = await stack.enter_async_context(own_postgresql(disk))
        redis = await stack.enter_async_context(own_redis())
        to_database = await stack.enter_async_context(proxy(postgresql.port))
        to_redis = await stack.enter_async_context(proxy(redis.port))
        vendor = Vendor(Random(rng.random()))
        models = await stack.enter_async_context(upstream(vendor.answer))
        await migrate.upgrade(postgresql.url)
        database = Database(postgresql.url, connections=4)
        stack.push_async_callback(database.aclose)
        keys = [await _tenant(database, name, limit) for name, limit in enumerate(LIMITS_USD)]
        config = folder / "fathom.toml"
        config.write_text(
            CONFIG.replace("BASE_URL", models.base_url)
            .replace("OUTPUT_TOKENS_MAX", str(OUTPUT_TOKENS_MAX))
            .replace("MODEL", MODEL)
        )
        environment = {
            "FATHOM_DATABASE_URL": postgresql.url.replace(
                str(postgresql.port), str(to_database.port)
            ),
            "FATHOM_REDIS_URL": redis.url.replace(str(redis.port), str(to_redis.port)),
            "FATHOM_LEASE_S": str(LEASE_S),
            "UPSTREAM_KEY": KEY,
        }
        gateways = [Replica(config, free_port(), environment, output) for _ in range(replicas)]
        for gateway in gateways:
            gateway.start()
            stack.callback(gateway.kill)
        await asyncio.gather(*(gateway.answers() for gateway in gateways))
        traffic = Traffic([one.address for one in gateways], keys, Random(rng.random()))
        faults = Faults(gateways, postgresql, redis, to_database, to_redis, rng, LEASE_S, disk)
        sampler = Sampler(database)
        sampling = asyncio.create_task(sampler.run())
        async with asyncio.TaskGroup() as both:
            both.create_task(traffic.run(clients=CLIENTS, seconds=seconds))
            both.create_task(faults.run(seconds=seconds))
        await asyncio.gather(*(gateway.answers() for gateway in gateways))
        await ended(database, within_s=SETTLED_S)
        sampling.cancel()
        return await _report(database, vendor, traffic, faults, sampler)


async def _report(
    database: Database, vendor: Vendor, traffic: Traffic, faults: Faults, sampler: Sampler
) -> bool:
    found = await books(database)
    charged = sum(charge.cost for charge in vendor.charges)
    for title, counts in (
        ("faults", faults.injected),
        ("clients were told", traffic.statuses),
        ("the vendor's answers", vendor.answers),
        ("calls", found.states),
    ):
        print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    print(
        f"{found.solves} solves, {found.calls} calls, {len(vendor.charges)} charges;"
        f" charged ${usd(charged)}, billed ${usd(found.billed)},"
        f" suspense ${usd(found.suspense)}, loss ${usd(found.loss)}; {sampler.samples} samples"
    )
    rules = [*await findings(database, vendor, traffic, sampler)]
    rules += await reconciled(database, vendor)
    after = await books(database)
    print(
        f"after the vendor's report: billed ${usd(after.billed)}, suspense ${usd(after.suspense)},"
        f" loss ${usd(after.loss)}, gain ${usd(-after.gain)}"
    )
    for rule in rules:
        print(f"{'holds' if rule.holds else 'BROKEN'}: {rule.name} {rule.detail}".rstrip())
    held = sum(rule.holds for rule in rules)
    print(f"{len(rules)} invariants, {held} hold")
    return held == len(rules)


def usd(amount: int) -> str:
    """Dollars."""
    return to_usd(NanoUSD(amount))


async def _tenant(database: Database, number: int, limit_usd: str) -> str:
    allowance = Allowance(from_usd(limit_usd), Period.TOTAL)
    made = await open_tenant(
        database, name=f"tenant-{number}", policy="default", allowance=allowance
    )
    return made.key


@contextmanager
def small_disk() -> Generator[Path | None]:
    """A folder on a disk of its own that can be filled; None where we may not mount one."""
    with TemporaryDirectory(prefix="fathom-disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", DISK_SIZE, "tmpfs", folder]
        if os.getuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="what replicas print")
    asked = parser.parse_args()
    held = asyncio.run(main(asked.seconds, asked.seed, asked.replicas, asked.log))
    raise SystemExit(not held)
