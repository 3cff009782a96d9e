"""Serving over HTTP, and ending gently: what runs is finished, nothing new is begun.

At SIGTERM the process says at `/readyz` that it drains, and for a moment still answers, so that
whoever balances load learns of it; new solves are refused with 503 meanwhile. Then it stops
listening and waits for the solves that run, as long as any may take. A second signal ends it at
once: what is left then is finished by the next replica.
"""

import asyncio
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from app.main import app_of
from app.settings import GatewayConfig, Settings
from app.telemetry import logs
from app.telemetry.readiness import Drain
from app.wiring import open_gateway

SETTLE_S: Final = 5
"""Beside the longest deadline: time to settle what a deadline ended."""


class DrainingServer(uvicorn.Server):
    """A server whose first SIGTERM or SIGINT starts a drain."""

    def __init__(self, config: uvicorn.Config, *, drain: Drain, linger_s: float) -> None:
        super().__init__(config)
        self._drain, self._linger_s = drain, linger_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal ends the process at once."""
        if self._drain.begun:
            self.should_exit = self.force_exit = True
            return
        self._drain.begun = True
        # Thread-safe because nothing else wakes a loop that waits: a signal by itself does not.
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._linger_s, self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True


def serve(settings: Settings, config: GatewayConfig) -> None:
    """Run the gateway until a signal ends it; a refusal to start is raised as what it is."""
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_serve(settings, config))


async def _serve(settings: Settings, config: GatewayConfig) -> None:
    drain = Drain()
    longest_s = max(policy.deadline_s for policy in config.policies.values())
    # Opened here and not in the application's lifespan, whose errors the server keeps for itself.
    async with open_gateway(settings, config, drain=drain) as gateway:
        server = DrainingServer(
            uvicorn.Config(
                app_of(gateway),
                host=settings.host,
                port=settings.port,
                log_config=None,  # what it logs goes where our log goes
                access_log=False,
                timeout_graceful_shutdown=int(longest_s) + SETTLE_S,
            ),
            drain=drain,
            linger_s=settings.drain_linger_s,
        )
        await server.serve()
