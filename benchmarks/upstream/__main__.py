"""CPU time that one upstream call costs this process, by HTTP client.

    python -m benchmarks.upstream [--calls 1000] [--rounds 5] [--loop uvloop|asyncio]

Clients take turns within each round, so that a busy machine slows all of them. A figure is the
median of the rounds; a ratio is the median of the ratios to the yardstick in the same round.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final

import uvloop

from benchmarks.upstream.clients import CLIENTS, YARDSTICK, Call, Open

CONCURRENCIES: Final = (16, 1)
WARM_UP: Final = 20
"""Calls of each worker that are not counted: connections, caches, specialised bytecode."""


@contextmanager
def upstream() -> Generator[str]:
    """The base URL of the server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.upstream.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


async def cpu_us(connect: Open, base_url: str, *, calls: int, concurrency: int) -> float:
    """Microseconds of CPU a call, in user and system mode, of all threads of this process."""
    call, close = connect(base_url)
    try:
        await _spread(call, WARM_UP * concurrency, concurrency)
        before_ns = time.process_time_ns()
        await _spread(call, calls, concurrency)
        return (time.process_time_ns() - before_ns) / 1_000 / calls
    finally:
        await close()


async def _spread(call: Call, calls: int, concurrency: int) -> None:
    remaining = iter(range(calls))

    async def work() -> None:
        for _ in remaining:
            await call()

    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(work())


Samples = Mapping[tuple[str, int], Sequence[float]]


async def measure(base_url: str, *, calls: int, rounds: int) -> Samples:
    """One figure a round for each client and concurrency."""
    samples: dict[tuple[str, int], list[float]] = {
        (name, concurrency): [] for name in CLIENTS for concurrency in CONCURRENCIES
    }
    for _ in range(rounds):
        for (name, concurrency), figures in samples.items():
            figures.append(
                await cpu_us(CLIENTS[name], base_url, calls=calls, concurrency=concurrency)
            )
    return samples


def table(samples: Samples) -> str:
    """A line a client: microseconds and ratio at each concurrency."""
    heads = [f"{f'us, {n} in flight':>17} {'ratio':>6}" for n in CONCURRENCIES]
    lines = [f"{'client':30}" + "".join(heads)]
    for name in CLIENTS:
        cells: list[str] = []
        for concurrency in CONCURRENCIES:
            figures, yardstick = samples[name, concurrency], samples[YARDSTICK, concurrency]
            ratio = median(one / other for one, other in zip(figures, yardstick, strict=True))
            cells.append(f"{median(figures):17.0f} {ratio:6.1f}")
        lines.append(f"{name:30}" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    asked = parser.parse_args()
    run = uvloop.run if asked.loop == "uvloop" else asyncio.run
    with upstream() as base_url:
        print(table(run(measure(base_url, calls=asked.calls, rounds=asked.rounds))))


if __name__ == "__main__":
    main()
