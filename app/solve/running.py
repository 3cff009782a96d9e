"""The runs of this process, so that any of them can be told to end."""

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Final

from app.ids import SolveId
from app.solve.run import Run

SETTLE_S: Final = 5.0
"""How long the one who cancels a run waits for its account to be settled."""


class Running:
    """What runs here now. A solve is in it for as long as this process means to end it."""

    def __init__(self) -> None:
        # One that was lost to another process and came back may run here twice for a while.
        self._runs: dict[SolveId, dict[asyncio.Event, Run]] = {}
        self._expected = Counter[SolveId]()

    def __contains__(self, solve_id: object) -> bool:
        return solve_id in self._expected or solve_id in self._runs

    @contextmanager
    def starting(self, solve_id: SolveId) -> Generator[None]:
        """Count it as running from here on: to the end of its run, or of a block that fails."""
        self._expected[solve_id] += 1
        try:
            yield
        except BaseException:
            self._forget(solve_id)
            raise

    @contextmanager
    def keep(self, run: Run) -> Generator[None]:
        """Know of the run until the block ends."""
        solve_id, ended = run.claim.solve_id, asyncio.Event()
        self._runs.setdefault(solve_id, {})[ended] = run
        try:
            yield
        finally:
            del self._runs[solve_id][ended]
            if not self._runs[solve_id]:
                del self._runs[solve_id]
            self._forget(solve_id)
            ended.set()

    def stop(self, solve_ids: Iterable[SolveId]) -> None:
        """Cancel those that run here, and do not wait for them."""
        for solve_id in solve_ids:
            for run in self._runs.get(solve_id, {}).values():
                run.cancel()

    async def cancel(self, solve_id: SolveId) -> None:
        """Cancel a run and wait until it is settled, if it runs here; for SETTLE_S at most."""
        kept = tuple(self._runs.get(solve_id, {}))
        self.stop([solve_id])
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                for ended in kept:
                    await ended.wait()

    def _forget(self, solve_id: SolveId) -> None:
        if self._expected[solve_id] > 1:
            self._expected[solve_id] -= 1
        else:
            del self._expected[solve_id]
