"""What governing a request costs: one `mode: single` solve beside a plain passthrough, in one run.

    python -m benchmarks.overhead [--requests 1000] [--rounds 5] [--rate 100] [--no-profile]

The gateway checks the key, holds, journals, calls, settles and stores, on PostgreSQL (whose commits
reach the disk) and Redis. The two take turns within each round; a figure is the median of the
rounds, a ratio that of the ratios within a round. CPU is that of the server's process alone.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import uvloop
from sqlalchemy import text

from app.db.engine import Database, WriteTx
from benchmarks.overhead.load import Client, session
from benchmarks.overhead.servers import Server, gateway, passthrough, postgresql, upstream

CONCURRENCY: Final = 16
WARM_UP: Final = 300
TARGET_RATIO: Final = 2.0


@dataclass(slots=True)
class Figures:
    """One figure a round, and the latencies of all rounds."""

    cpu_ms: list[float] = field(default_factory=list[float])
    per_s: list[float] = field(default_factory=list[float])
    per_core_s: list[float] = field(default_factory=list[float])
    latencies_ms: list[float] = field(default_factory=list[float])

    def percentile(self, percent: int) -> float:
        """A percentile of the latencies, in milliseconds."""
        return quantiles(self.latencies_ms, n=100)[percent - 1]


async def measure(client: Client, server: Server, figures: Figures, *, requests: int) -> None:
    """Add a round of requests, as many as can be answered."""
    before_s = server.cpu_s()
    took_s = await client.saturate(requests, concurrency=CONCURRENCY)
    used_s = server.cpu_s() - before_s
    figures.cpu_ms.append(used_s * 1000 / requests)
    figures.per_s.append(requests / took_s)
    figures.per_core_s.append(requests / used_s)


async def compare(asked: argparse.Namespace, base_url: str, folder: Path) -> None:
    """Measure both, print the table."""
    plain, governed = Figures(), Figures()
    async with AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(session())
        one = await stack.enter_async_context(passthrough(base_url))
        other = await stack.enter_async_context(gateway(base_url, folder))
        turns = [
            (Client(one, sessions), one, plain),
            (Client(other, sessions), other, governed),
        ]
        for client, _, _ in turns:
            await client.saturate(WARM_UP, concurrency=CONCURRENCY)
        for _ in range(asked.rounds):
            for client, server, figures in turns:
                await measure(client, server, figures, requests=asked.requests)
        for _ in range(asked.rounds):
            for client, _, figures in turns:
                took = await client.steady(int(asked.rate), rate=asked.rate)
                figures.latencies_ms += [seconds * 1000 for seconds in took]
    print(table(plain, governed, rate=asked.rate))


def table(plain: Figures, governed: Figures, *, rate: float) -> str:
    """A line each, the ratio, and what is added."""
    ratio = median(g / p for g, p in zip(governed.cpu_ms, plain.cpu_ms, strict=True))
    head = f"{'':12}{'CPU ms':>8}{'req/s':>8}{'req/s a core':>14}"
    head += f"{f'p50 ms at {rate:.0f}/s':>18}{'p99 ms':>8}"
    lines = [head]
    for name, figures in (("passthrough", plain), ("governed", governed)):
        lines.append(
            f"{name:12}{median(figures.cpu_ms):8.3f}{median(figures.per_s):8.0f}"
            f"{median(figures.per_core_s):14.0f}"
            f"{figures.percentile(50):18.2f}{figures.percentile(99):8.2f}"
        )
    added = [governed.percentile(p) - plain.percentile(p) for p in (50, 99)]
    lines.append(f"CPU ratio {ratio:.2f} (aim: {TARGET_RATIO}); added p50 {added[0]:.2f} ms, ")
    lines[-1] += f"p99 {added[1]:.2f} ms"
    return "\n".join(lines)


async def commit_ms(commits: int) -> Sequence[float]:
    """Milliseconds that transactions of one row take here, one at a time: mostly the disk."""
    took = list[float]()
    async with postgresql() as url:
        database = Database(url)

        async def row(tx: WriteTx) -> None:
            await tx.execute(
                text(
                    "INSERT INTO replica (id, seen_at) VALUES ('b', now()) ON "
                    "CONFLICT (id) DO UPDATE SET seen_at = now()"
                )
            )

        for _ in range(commits):
            started = time.perf_counter()
            await database.write(row)
            took.append((time.perf_counter() - started) * 1000)
        await database.aclose()
    return took


async def profile(asked: argparse.Namespace, base_url: str, folder: Path) -> None:
    """Run the gateway under the sampler and print who used its time."""
    out = folder / "samples.json"
    async with session() as sessions, gateway(base_url, folder, sampled_to=out) as server:
        client = Client(server, sessions)
        await client.saturate(WARM_UP, concurrency=CONCURRENCY)
        os.kill(server.pid, signal.SIGUSR1)
        await client.saturate(asked.requests * 2, concurrency=CONCURRENCY)
    samples = Counter[str](json.loads(out.read_text()))
    total = samples.total()
    print(f"\nWhere the gateway's CPU time goes ({total} samples):")
    for name, count in samples.most_common(asked.lines):
        print(f"  {100 * count / total:5.1f} %  {name}")


async def run(asked: argparse.Namespace) -> None:
    """Everything, in turn."""
    with upstream() as base_url, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        await compare(asked, base_url, folder)
        took = await commit_ms(200)
        print(f"one commit: p50 {median(took):.2f} ms, p99 {quantiles(took, n=100)[98]:.2f} ms")
        if asked.profile:
            await profile(asked, base_url, folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000, help="of each, a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=100, help="requests a second, for latency")
    parser.add_argument("--lines", type=int, default=24, help="of the profile")
    parser.add_argument("--profile", action=argparse.BooleanOptionalAction, default=True)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
