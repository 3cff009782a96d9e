"""How a process leaves its runs to others: no call is begun, those in flight come back."""

import asyncio
from collections.abc import Mapping

from app.solve.run import Run


async def leave(runs: Mapping["asyncio.Task[None]", Run | None], *, within_s: float) -> None:
    """Hand the runs over, and end the tasks that have none yet; for `within_s` at the most.

    What has not come back by then is cancelled, and not waited for.
    """
    for task, run in runs.items():
        if run is None:
            task.cancel()
        else:
            run.attempts.hand_over()
    if runs:
        _, late = await asyncio.wait(list(runs), timeout=within_s)
        for task in late:
            task.cancel()
