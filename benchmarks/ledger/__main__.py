"""How many holds a second one hot tenant takes, on PostgreSQL whose commits reach the disk.

    python -m benchmarks.ledger [--clients 32] [--seconds 3] [--rounds 3]

A hold writes the solve, its input and what it takes of the tenant's and the key's budget, in one
transaction. Plain: a transaction each. Coalesced, as the gateway holds: whoever comes while one
runs shares the next. The yardstick, in the same rounds, is the least that a strict budget can cost:
one UPDATE of one row, and its commit, by as many clients.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import Final

from sqlalchemy import text

from app.accounts import Allowance, open_tenant
from app.db.engine import Database, WriteTx
from app.ids import solve_id
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.openings import Opening, open_together
from app.money import NanoUSD, from_usd
from benchmarks.overhead.servers import postgresql

MANY: Final = 16
"""Times the clients, for the coalesced holds: a crowd has company."""


async def per_second(
    work: Callable[[], Awaitable[object]], *, clients: int, seconds: float
) -> tuple[float, float]:
    """How often `clients` do it a second, and the milliseconds of this process's CPU each time."""
    ends_at, done, used_s = perf_counter() + seconds, 0, process_time()

    async def client() -> None:
        nonlocal done
        while perf_counter() < ends_at:
            await work()
            done += 1

    started = perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (perf_counter() - started), 1000 * (process_time() - used_s) / done


async def main(clients: int, seconds: float, rounds: int) -> None:
    """Measure in turns, print the medians."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(postgresql())
        database = Database(url, connections=clients)
        stack.push_async_callback(database.aclose)
        allowance = Allowance(limit=from_usd("1000000"))
        made = await open_tenant(database, name="hot", policy="default", allowance=allowance)
        payer, ledger = Account(made.tenant_id, made.key_id), Ledger(database)

        async def plain() -> None:
            await database.write(partial(open_together, openings=[opening(payer)]))

        async def coalesced() -> None:
            await ledger.hold(opening(payer))

        async def yardstick() -> None:
            await database.write(_touch)

        found: dict[str, list[tuple[float, float]]] = {
            "yardstick": [],
            "plain": [],
            "coalesced": [],
        }
        for _ in range(rounds):
            for name, work, crowd in (
                ("yardstick", yardstick, clients),
                ("plain", plain, clients),
                ("coalesced", coalesced, MANY * clients),
            ):
                found[name].append(await per_second(work, clients=crowd, seconds=seconds))
    unit = median(rate for rate, _ in found["yardstick"])
    print(f"{'':12} {'a second':>10} {'yardsticks':>11} {'ms CPU each':>12}")
    for name, rates in found.items():
        rate, cpu_ms = median(rate for rate, _ in rates), median(cpu for _, cpu in rates)
        print(f"{name:12} {rate:10.0f} {rate / unit:11.2f} {cpu_ms:12.3f}")


def opening(payer: Account) -> Opening:
    """A solve of a small request."""
    return Opening(
        solve_id=solve_id(),
        account=payer,
        cap=NanoUSD(100_000_000),
        first_hold=NanoUSD(1_000_000),
        request={"input": "What is 17 * 23?", "mode": "single"},
        plan={"mode": "single"},
        owner="benchmark",
    )


async def _touch(tx: WriteTx) -> None:
    await tx.execute(text("UPDATE tenant SET created_at = created_at"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    asyncio.run(main(asked.clients, asked.seconds, asked.rounds))
