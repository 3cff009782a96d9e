"""What a batch costs those who wait: the latency of interactive solves with one beside them.

    python -m benchmarks.batches [--lines 2000] [--batches 1] [--rate 10] [--latency-s 0.5]

One tenant, on PostgreSQL (whose commits reach the disk) and Redis, sends interactive solves at a
steady rate: for a while alone, for as long as its batch runs, and alone again; several batches of
fewer lines even out what else the machine does. The figure is the ratio of the p95 beside a batch
to the p95 alone. Then the books: every line is in the output, its costs sum to what its cap and the
ledger say, a batch whose cap fits half of it stays within, and the receipts of the batches' lines
and of all other solves sum to the tenant's statement of the month, as it stands.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import aiohttp
import uvloop
from sqlalchemy import func, select

from app.db.engine import Database
from app.ledger.invariants import check
from app.ledger.tables import Entry
from benchmarks.batches.papers import Papers
from benchmarks.overhead.load import Client, session
from benchmarks.overhead.servers import Server, gateway, upstream

LINE_COST: Final = Decimal("0.000118")
"""What the upstream's one answer costs: 19 tokens at $2 and 10 at $8 a million."""

LINE_HOLD: Final = Decimal("0.0022")
"""More than a line holds."""

OVER: Final = ("completed", "expired", "cancelled")
SLICE_S: Final = 2.0
WARM_UP: Final = 50
RATIO_MAX: Final = 1.2

Json = dict[str, Any]


class Batches:
    """A client of `/v1/batches`."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self._session, self._url = session, f"{server.address}/v1/batches"
        self._headers = {"authorization": f"Bearer {server.key}"}

    async def send(self, lines: int, *, cap: Decimal) -> Json:
        """Send a batch of so many lines."""
        body = "\n".join(json.dumps(_line(number)) for number in range(lines))
        headers = self._headers | {
            "content-type": "application/jsonl",
            "idempotency-key": f"{time.time_ns()}",
        }
        async with self._session.post(
            self._url, params={"max_cost_usd": f"{cap:f}"}, data=body.encode(), headers=headers
        ) as response:
            return await _read(response)

    async def find(self, batch: Json) -> Json:
        """The batch as it stands."""
        async with self._session.get(f"{self._url}/{batch['id']}", headers=self._headers) as found:
            return await _read(found)

    async def solves(self, batch: Json) -> Sequence[str]:
        """The ids of its lines' solves."""
        return [
            one["response"]["body"]["id"] async for one in self.output(batch) if one["response"]
        ]

    async def output(self, batch: Json) -> AsyncGenerator[Json]:
        """Its lines."""
        url = f"{self._url}/{batch['id']}/output"
        async with self._session.get(url, headers=self._headers) as response:
            async for line in response.content:
                yield json.loads(line)


def _line(number: int) -> Json:
    body = {"input": f"What is {number} * 23?", "mode": "single"}
    return {"custom_id": f"q{number}", "method": "POST", "url": "/v1/solve", "body": body}


async def _read(response: aiohttp.ClientResponse) -> Json:
    if response.status != 200:
        raise SystemExit(f"{response.url} answered {response.status}: {await response.text()}")
    document: Json = await response.json()
    return document


async def _alone(client: Client, asked: argparse.Namespace) -> Sequence[float]:
    return await client.steady(int(asked.off_s * asked.rate), rate=asked.rate)


async def _beside(
    client: Client, batches: Batches, batch: Json, asked: argparse.Namespace
) -> Sequence[float]:
    took: list[float] = []
    while (await batches.find(batch))["status"] not in OVER:
        took += await client.steady(int(SLICE_S * asked.rate), rate=asked.rate)
    return took


async def _until_over(batches: Batches, batch: Json) -> Json:
    while (found := await batches.find(batch))["status"] not in OVER:  # noqa: ASYNC110 - over HTTP
        await asyncio.sleep(0.5)
    return found


async def _audit(server: Server, batches: Batches, ended: Json, *, lines: int) -> tuple[int, int]:
    """(answered, refused) of a batch; SystemExit where its books do not hold."""
    spent, answered, seen = Decimal(0), 0, 0
    async for line in batches.output(ended):
        _must(line["custom_id"] == f"q{seen}", "the output is not in the order of the input")
        seen += 1
        if line["error"] is None:
            answered += 1
            spent += Decimal(line["response"]["body"]["cost"]["total_usd"])
        else:
            _must(line["error"]["code"] == "budget-exhausted", f"a line failed: {line}")
    budget = ended["budget"]
    _must(seen == lines, f"{seen} of {lines} lines are in the output")
    _must(spent == Decimal(budget["spent_usd"]), "the lines' costs are not the batch's")
    _must(spent <= Decimal(budget["max_cost_usd"]), "the batch cost more than its cap")
    database = Database(server.database_url)
    broken = [finding for finding in await check(database) if not finding.holds]
    await database.aclose()
    _must(not broken, f"the books do not hold: {broken}")
    return answered, lines - answered


async def _charged(server: Server) -> Decimal:
    database = Database(server.database_url)
    query = select(func.sum(Entry.amount)).where(Entry.account.startswith("tenant:"))
    async with database.read() as tx:
        charged = Decimal(int(await tx.scalar(query) or 0)) / 10**9
    await database.aclose()
    return charged


async def _compare(papers: Papers, in_batches: Sequence[str]) -> None:
    """Print what the receipts come to and what the statement says; SystemExit where they differ."""
    sums = await papers.receipts(set(in_batches))
    _must(sums.counts[0] == len(in_batches), "a line's solve is not in the list")
    month, charges = await papers.statement()
    print(
        f"receipts: ${sums.some} of {sums.counts[0]} lines, "
        f"${sums.others} of {sums.counts[1]} interactive solves"
    )
    print(f"statement of {month}: ${charges}; difference ${charges - sums.some - sums.others}")
    _must(charges == sums.some + sums.others, "the statement is not the sum of the receipts")


def _must(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion that stays
    if not holds:
        raise SystemExit(otherwise)


def _told(name: str, took: Sequence[float]) -> str:
    cut = quantiles(took, n=100)
    return f"{name:22}{len(took):7}{1000 * cut[49]:9.1f}{1000 * cut[94]:9.1f}{1000 * cut[98]:9.1f}"


async def run(asked: argparse.Namespace) -> None:
    """Everything, in turn."""
    with upstream(latency_s=asked.latency_s) as base_url, tempfile.TemporaryDirectory() as folder:
        async with session() as sessions, gateway(base_url, Path(folder)) as server:
            client, batches = Client(server, sessions), Batches(server, sessions)
            papers, solves = Papers(server, sessions, began=datetime.now(UTC)), list[str]()
            await client.saturate(WARM_UP, concurrency=8)
            alone, beside, took_s, spent = list[float](), list[float](), 0.0, Decimal(0)
            for _ in range(asked.batches):
                alone += await _alone(client, asked)
                cap = asked.lines * LINE_COST + 16 * LINE_HOLD
                batch = await batches.send(asked.lines, cap=cap)
                started = time.perf_counter()
                beside += await _beside(client, batches, batch, asked)
                took_s += time.perf_counter() - started
                ended = await batches.find(batch)
                answered, refused = await _audit(server, batches, ended, lines=asked.lines)
                spent += Decimal(ended["budget"]["spent_usd"])
                solves += await batches.solves(ended)
                print(
                    f"{asked.lines} lines: {answered} answered, {refused} refused; "
                    f"${ended['budget']['spent_usd']} of ${ended['budget']['max_cost_usd']}"
                )
            alone += await _alone(client, asked)
            print(f"{'':22}{'solves':>7}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
            print(_told("alone", alone))
            print(_told("beside a batch", beside))
            ratio = quantiles(beside, n=100)[94] / quantiles(alone, n=100)[94]
            print(f"p95 ratio {ratio:.3f} (at most {RATIO_MAX})")
            print(f"{asked.batches * asked.lines / took_s:.1f} lines a second")
            charged = await _charged(server)
            interactive = (len(alone) + len(beside) + WARM_UP) * LINE_COST
            _must(charged == interactive + spent, f"the ledger has ${charged}")
            print(f"the ledger's total is theirs and the interactive ones': ${charged}")
            half = asked.lines // 20
            tight = await batches.send(2 * half, cap=half * LINE_COST + LINE_HOLD)
            tight = await _until_over(batches, tight)
            answered, refused = await _audit(server, batches, tight, lines=2 * half)
            print(
                f"{2 * half} lines under a cap for half: {answered} answered, {refused} refused; "
                f"${tight['budget']['spent_usd']} of ${tight['budget']['max_cost_usd']}"
            )
            await _compare(papers, [*solves, *await batches.solves(tight)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=2_000)
    parser.add_argument("--batches", type=int, default=1, help="one after the other")
    parser.add_argument("--rate", type=float, default=10, help="interactive solves a second")
    parser.add_argument("--latency-s", type=float, default=0.5, help="of the model")
    parser.add_argument("--off-s", type=float, default=40, help="alone, before and after each")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
