"""A gateway in a process of its own, which a test may kill."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from importlib.resources import files
from pathlib import Path

import httpx

START_S = 30.0


def slow_config(folder: Path, *, latency_s: float) -> Path:
    """The packaged configuration, with models that take a while to answer."""
    text = (files("app") / "data" / "demo.toml").read_text()
    slow = text.replace('kind = "replay"', f'kind = "replay"\nlatency_s = {latency_s}')
    path = folder / "slow.toml"
    path.write_text(slow)
    return path


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def gateway_process(
    config: Path,
    *,
    database_url: str,
    redis_url: str | None = None,
    lease_s: float = 1.0,
    said: Path | None = None,
    **more: str,
) -> AsyncGenerator[tuple[subprocess.Popen[bytes], str]]:
    """`fathom serve` and its address; killed at the end if it still runs.

    What it says on either stream is added to the file `said`, if one is named.
    """
    port = free_port()
    environment = (
        os.environ | {"FATHOM_DATABASE_URL": database_url, "FATHOM_LEASE_S": str(lease_s)} | more
    )
    environment.pop("FATHOM_REDIS_URL", None)
    if redis_url is not None:
        environment["FATHOM_REDIS_URL"] = redis_url
    fathom = Path(sys.executable).with_name("fathom")
    command = [str(fathom), "serve", "--config", str(config), "--port", str(port)]
    with ExitStack() as files:
        heard = None if said is None else files.enter_context(said.open("ab"))
        process = subprocess.Popen(  # noqa: ASYNC220 - it outlives any await
            command, env=environment, stdout=heard, stderr=heard
        )
        address = f"http://127.0.0.1:{port}"
        try:
            await _answers(address, process)
            yield process, address
        finally:
            process.kill()
            process.wait()


async def _answers(address: str, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(START_S), httpx.AsyncClient() as client:
        while process.poll() is None:
            try:
                if (await client.get(f"{address}/healthz")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise AssertionError(f"the gateway ended with status {process.returncode}")


def kill_9(process: subprocess.Popen[bytes]) -> None:
    """End it as a machine that loses power does."""
    process.send_signal(signal.SIGKILL)
    process.wait()
