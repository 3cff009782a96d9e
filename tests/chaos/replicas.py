"""Gateways that are killed, frozen, drained, and started again on the same port."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import httpx

START_S: Final = 60.0


class Replica:
    """One `fathom serve`; its output goes to `log`."""

    def __init__(
        self, config: Path, port: int, environment: Mapping[str, str], log: IO[bytes]
    ) -> None:
        fathom = Path(sys.executable).with_name("fathom")
        self._command = [str(fathom), "serve", "--config", str(config), "--port", str(port)]
        self._environment = os.environ | dict(environment)
        self._log = log
        self.address = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `answers` says when it serves."""
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdout=self._log, stderr=self._log
        )

    async def answers(self) -> None:
        """Wait until it serves; one that ended for want of a database is started again."""
        async with asyncio.timeout(START_S), httpx.AsyncClient() as client:
            while True:
                assert self.process is not None, "started before"
                if self.process.poll() is not None:
                    self.start()
                try:
                    if (await client.get(f"{self.address}/healthz")).is_success:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
