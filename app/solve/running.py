"""The runs of this process, so that any of them can be told to end."""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Final

from app.ids import SolveId
from app.solve.run import Run

SETTLE_S: Final = 5.0
"""How long the one who cancels a run waits for its account to be settled."""


class Running:
    """What runs here now."""

    def __init__(self) -> None:
        self._runs: dict[SolveId, tuple[Run, asyncio.Event]] = {}

    @contextmanager
    def keep(self, run: Run) -> Generator[None]:
        """Know of the run until the block ends."""
        solve_id, ended = run.claim.solve_id, asyncio.Event()
        self._runs[solve_id] = run, ended
        try:
            yield
        finally:
            del self._runs[solve_id]
            ended.set()

    def stop(self, solve_ids: Iterable[SolveId]) -> None:
        """Cancel those that run here, and do not wait for them."""
        for solve_id in solve_ids:
            if solve_id in self._runs:
                self._runs[solve_id][0].cancel()

    async def cancel(self, solve_id: SolveId) -> None:
        """Cancel a run and wait until it is settled, if it runs here; for SETTLE_S at most."""
        if solve_id not in self._runs:
            return
        run, ended = self._runs[solve_id]
        run.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await ended.wait()
