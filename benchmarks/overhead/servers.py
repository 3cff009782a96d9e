"""The processes that are compared: an upstream, the passthrough before it, the gateway before it.

Each is a process of its own, and what it costs is read from its own CPU clock, so that neither the
client nor PostgreSQL nor a busy neighbour is counted.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.accounts import Allowance, open_tenant
from app.db import migrate
from app.db.engine import Database
from app.ids import uuid7
from app.ledger.periods import Period
from app.money import from_usd
from tests.solve.serving import free_port

POSTGRESQL: Final = make_url(
    os.environ.get("FATHOM_TEST_DATABASE_URL", "postgresql+asyncpg://root@127.0.0.1:5432/postgres")
)
REDIS: Final = os.environ.get("FATHOM_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
START_S: Final = 30.0

CONFIG: Final = """
[providers.upstream]
kind = "openai"
base_url = "BASE_URL"
api_key_env = "UPSTREAM_KEY"
concurrency = 1000

[experts.only]
provider = "upstream"
model = "gpt-4.1"
max_output_tokens = 256
input_usd_per_mtok = "2"
output_usd_per_mtok = "8"

[policies.default]
default_expert = "only"
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers at `address`, for whoever sends `key`; its database, if it has one."""

    address: str
    pid: int
    key: str = "sk-benchmark"
    database_url: str = ""

    def cpu_s(self) -> float:
        """CPU seconds that the process has used, in user and system mode, in all its threads."""
        # Linux encodes the clock of a process so: see clock_getcpuclockid(3) and its kernel side.
        return time.clock_gettime((~self.pid << 3) | 2)


@contextmanager
def upstream(*, latency_s: float = 0.0) -> Generator[str]:
    """The base URL of an upstream that costs nothing."""
    command = [sys.executable, "-m", "benchmarks.upstream.server", str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


@asynccontextmanager
async def passthrough(base_url: str) -> AsyncGenerator[Server]:
    """The yardstick."""
    port = free_port()
    command = ["-m", "benchmarks.overhead.passthrough", base_url, str(port)]
    async with _serving(command, port, {}) as server:
        yield server


@asynccontextmanager
async def gateway(
    base_url: str, folder: Path, *, sampled_to: Path | None = None
) -> AsyncGenerator[Server]:
    """`fathom serve` on a PostgreSQL database of its own and Redis, with a tenant of ample means.

    `sampled_to` is a file for the sampler to write where time goes; sampling costs some, too.
    """
    config = folder / "fathom.toml"
    config.write_text(CONFIG.replace("BASE_URL", base_url))
    port = free_port()
    fathom = str(Path(sys.executable).with_name("fathom"))
    serve = [fathom, "serve", "--config", str(config), "--port", str(port)]
    if sampled_to is not None:
        serve = ["-m", "benchmarks.overhead.sampler", str(sampled_to), *serve]
    async with postgresql() as url:
        key = await _tenant(url)
        environment = {
            "FATHOM_DATABASE_URL": url,
            "FATHOM_REDIS_URL": REDIS,
            "FATHOM_LOG_LEVEL": "warning",
            "FATHOM_DRAIN_LINGER_S": "0",
            "UPSTREAM_KEY": "sk-benchmark",
        }
        async with _serving(serve, port, environment) as server:
            yield Server(server.address, server.pid, key, url)


@asynccontextmanager
async def postgresql() -> AsyncGenerator[str]:
    """A database with this version's schema, dropped at the end; its commits reach the disk."""
    name = f"fathom_bench_{os.getpid()}_{uuid7().hex[-8:]}"
    await _administer(f'CREATE DATABASE "{name}"')
    try:
        url = POSTGRESQL.set(database=name).render_as_string(hide_password=False)
        await migrate.upgrade(url)
        yield url
    finally:
        await _administer(f'DROP DATABASE "{name}" WITH (FORCE)')


async def _tenant(url: str) -> str:
    database = Database(url)
    allowance = Allowance(from_usd("1000000"), Period.DAY, "UTC")
    made = await open_tenant(database, name="bench", policy="default", allowance=allowance)
    await database.aclose()
    return made.key


async def _administer(statement: str) -> None:
    engine = create_async_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


@asynccontextmanager
async def _serving(
    command: Sequence[str], port: int, environment: Mapping[str, str]
) -> AsyncGenerator[Server]:
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - it outlives any await, and is ours
        [sys.executable, *command], env=os.environ | environment
    )
    try:
        server = Server(f"http://127.0.0.1:{port}", process.pid)
        await _answers(server, process)
        yield server
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(START_S), httpx.AsyncClient() as client:
        while process.poll() is None:
            try:
                if (await client.get(f"{server.address}/healthz")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise SystemExit(f"a server that was to be measured ended with status {process.returncode}")
