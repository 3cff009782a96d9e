"""The trainer as a task of the server, for who has nobody to call `fathom gate train`."""

import asyncio

import structlog

from app.db.repeating import repeat
from app.learning.learner import Learner
from app.telemetry.readiness import Drain

log = structlog.get_logger()


class Training:
    """Fits the weights anew, over and over; the first time when the first period has passed.

    Every replica may: weights are named by their content, so that twice the same is once.
    """

    def __init__(self, learner: Learner, *, drain: Drain) -> None:
        self._learner, self._drain = learner, drain
        self._begun = False

    async def run(self, stop: asyncio.Event, *, every_s: float) -> None:
        """Train until `stop` is set."""
        await repeat("training", self.train, every_s=every_s, stop=stop, drain=self._drain)

    async def train(self) -> bool:
        """Once; whether there is more to do at once, which there never is."""
        if self._begun:
            await self._learner.refit()
        self._begun = True
        return False
