"""A PostgreSQL and a Redis of a test's own, on free ports: to be stopped, killed and emptied.

They use the programs of this machine. Where those are missing a laptop skips, and a machine that
must run every test fails.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.backends import skip
from tests.solve.serving import free_port

START_S: Final = 30.0
OWNER: Final = "postgres"
"""Who PostgreSQL runs as where we are root, which it refuses to be."""

DEBIAN: Final = Path("/usr/lib/postgresql")
"""Where Debian keeps the server's programs, which it does not put on the path."""

SETTINGS: Final = (
    "fsync=on",
    "max_connections=200",
    "shared_buffers=64MB",
    "unix_socket_directories=",
    "logging_collector=off",
    "log_min_messages=fatal",
    "log_min_error_statement=panic",
)


class Server(ABC):
    """A program that listens on `port`; it may be started again after it ended."""

    def __init__(self, command: Sequence[str], *, port: int) -> None:
        self.port = port
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it outlives any await
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with asyncio.timeout(START_S):
            while not await self.takes_connections():
                assert self._process.poll() is None, f"{self._command[0]} ended"
                await asyncio.sleep(0.05)

    def stop(self, how: signal.Signals) -> None:
        """Send it a signal and wait for its end; harmless where it has ended."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(how)
            process.wait(START_S)

    @abstractmethod
    async def takes_connections(self) -> bool:
        """Whether it does now."""


class PostgreSQL(Server):
    """A cluster in a folder of its own, with one empty database."""

    def __init__(self, folder: Path, programs: Path) -> None:
        port = free_port()
        options = [f"-c{setting}" for setting in (*SETTINGS, f"port={port}")]
        super().__init__(
            _as_owner([str(programs / "postgres"), "-D", str(folder), *options]), port=port
        )
        self._folder, self._programs = folder, programs
        self.url = f"postgresql+asyncpg://{OWNER}@127.0.0.1:{port}/postgres"

    def create(self) -> None:
        """Make the cluster; no passwords, for it listens on this machine alone."""
        if os.getuid() == 0:
            shutil.chown(self._folder, OWNER)
        initdb = [str(self._programs / "initdb"), "-D", str(self._folder), "-U", OWNER]
        subprocess.run(
            _as_owner([*initdb, "--auth=trust", "--no-locale", "-E", "UTF8", "--no-sync"]),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    async def takes_connections(self) -> bool:
        """Whether it does now."""
        try:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=OWNER, database="postgres", timeout=2
            )
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True


class RedisServer(Server):
    """An instance that appends to a file, as production's does."""

    def __init__(self, folder: Path, program: str, *, durable: Literal["yes", "no"]) -> None:
        port = free_port()
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
        super().__init__([program, *options, "--appendonly", durable], port=port)
        self.url = f"redis://127.0.0.1:{port}/0"

    async def empty(self) -> None:
        """Forget everything, as a FLUSHALL by mistake does."""
        async with Redis.from_url(self.url) as client:  # pyright: ignore[reportUnknownMemberType]
            await client.flushall()  # pyright: ignore[reportUnknownMemberType] - untyped options

    async def takes_connections(self) -> bool:
        """Whether it does now."""
        async with Redis.from_url(self.url) as client:  # pyright: ignore[reportUnknownMemberType]
            try:
                return bool(await client.ping())  # pyright: ignore[reportUnknownMemberType]
            except (RedisError, OSError):
                return False


@asynccontextmanager
async def own_postgresql(disk: Path | None = None) -> AsyncGenerator[PostgreSQL]:
    """A running PostgreSQL that nobody else uses; its cluster is a new folder, on `disk`."""
    programs = _postgresql_programs()
    if programs is None:
        skip("no PostgreSQL server programs")
    with TemporaryDirectory(
        prefix="fathom-postgresql-", dir=disk, ignore_cleanup_errors=True
    ) as folder:
        server = PostgreSQL(Path(folder), programs)
        await asyncio.to_thread(server.create)
        try:
            await server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # at once, as a crash


@asynccontextmanager
async def own_redis(*, durable: Literal["yes", "no"] = "yes") -> AsyncGenerator[RedisServer]:
    """A running Redis that nobody else uses."""
    program = shutil.which("redis-server")
    if program is None:
        skip("no redis-server")
    with TemporaryDirectory(prefix="fathom-redis-", ignore_cleanup_errors=True) as folder:
        server = RedisServer(Path(folder), program, durable=durable)
        try:
            await server.start()
            yield server
        finally:
            server.stop(signal.SIGKILL)


def _postgresql_programs() -> Path | None:
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _as_owner(command: list[str]) -> list[str]:
    if os.getuid() != 0:
        return command
    return ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--init-groups", *command]
