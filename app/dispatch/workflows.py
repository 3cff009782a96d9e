"""DBOS: a workflow a solve, on the gateway's own PostgreSQL, in a schema of its own.

A workflow only says that its solve is to be run, and may say so more than once: what was done and
paid for is in the ledger. DBOS keeps to threads and an event loop of its own; the solve runs in
ours. Needs the extra `dbos`; nothing else here imports it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

from dbos import DBOS, DBOSClient, DBOSConfig
from sqlalchemy import make_url, text

from app.db.engine import WriteTx
from app.ids import SolveId
from app.ledger.openings import Queue
from app.settings import BadConfiguration

NAME: Final = "fathom"
"""Of the application and its version: each version may run what any other has accepted."""

SCHEMA: Final = "fathom_dbos"
QUEUE: Final = "background"
WORKFLOW: Final = "run_solve"

LOOK_S: Final = 0.2
"""How often a process asks for work."""

CONNECTIONS: Final = 4
"""To PostgreSQL, a process, beside the gateway's own."""

LIVE: Final = ["ENQUEUED", "PENDING"]
"""The states of a workflow that is still to be run, or is being run."""

OVER: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
"""The states of one that nobody runs any more."""

KEPT_S: Final = 86_400.0
"""How long a workflow that is over is kept, for an operator to look at."""

FORGOTTEN_MAX: Final = 500
"""So many are deleted at a time."""

_ENQUEUE: Final = text(
    f"SELECT {SCHEMA}.enqueue_workflow(workflow_name => '{WORKFLOW}', queue_name => '{QUEUE}',"  # noqa: S608 - names of ours
    f" positional_args => ARRAY[to_json(id)], workflow_id => id, application_name => '{NAME}')"
    " FROM unnest(CAST(:solves AS text[])) AS id"
)

# DBOS is one a process.
_taken: Final = Lock()


async def _add(tx: WriteTx, solve_ids: Sequence[SolveId]) -> None:
    await tx.execute(_ENQUEUE, {"solves": list(solve_ids)})


WAITING: Final = Queue(name="queue:dbos", add=_add)
"""Where a solve waits until a workflow takes it."""


class Workflows:
    """What is asked of DBOS while it runs. Unlike DBOS itself, it waits for no database."""

    def __init__(self, url: str) -> None:
        self._client = DBOSClient(
            system_database_url=libpq_url(url),
            dbos_system_schema=SCHEMA,
            system_database_pool_size=1,
            application_name=NAME,
            lazy=True,
            retry_connection_errors=False,
        )

    def close(self) -> None:
        """Give its connection back."""
        self._client.destroy()

    async def revive(self, *, living: Collection[str]) -> None:
        """Let others run the workflows that executors had which do not live any more."""
        await asyncio.to_thread(self._revive, living)

    def _revive(self, living: Collection[str]) -> None:
        begun = self._client.list_workflows(status="PENDING", load_input=False, load_output=False)
        left = [one.workflow_id for one in begun if one.executor_id not in living]
        if left:
            self._client.resume_workflows(left, queue_name=QUEUE)

    async def forget(self, *, older_s: float = KEPT_S) -> None:
        """Delete some of the workflows that are over and were put there so long ago."""
        await asyncio.to_thread(self._forget, older_s)

    def _forget(self, older_s: float) -> None:
        before = datetime.now(UTC) - timedelta(seconds=older_s)
        over = self._client.list_workflows(
            status=OVER,
            end_time=before.isoformat(),
            limit=FORGOTTEN_MAX,
            load_input=False,
            load_output=False,
        )
        if over:
            self._client.delete_workflows([one.workflow_id for one in over])

    async def without(self, solve_ids: Sequence[SolveId]) -> Sequence[SolveId]:
        """Those of the solves that no workflow will run any more: an operator cancelled it."""
        return await asyncio.to_thread(self._without, solve_ids)

    def _without(self, solve_ids: Sequence[SolveId]) -> Sequence[SolveId]:
        if not solve_ids:
            return []
        named = [str(solve_id) for solve_id in solve_ids]
        live = self._client.list_workflows(
            workflow_ids=named, status=LIVE, load_input=False, load_output=False
        )
        found = {one.workflow_id for one in live}
        return [solve_id for solve_id in solve_ids if solve_id not in found]


@asynccontextmanager
async def launched(
    url: str, *, executor: str, most: int, run: Callable[[SolveId], Awaitable[None]]
) -> AsyncGenerator[Workflows]:
    """DBOS, which has at most `most` solves `run` here at a time, until the block ends.

    Brings its tables to its version, for which the role must be allowed to create a schema. Raises
    BadConfiguration where this process has one already.
    """
    ours = asyncio.get_running_loop()

    async def run_solve(solve_id: str) -> None:
        running = asyncio.run_coroutine_threadsafe(_awaited(run(SolveId(solve_id))), ours)
        await asyncio.wrap_future(running)

    if not _taken.acquire(blocking=False):
        raise BadConfiguration("FATHOM_DISPATCH=dbos: there is one gateway of those a process")
    try:
        # Its log goes where ours does: DBOS makes a way of its own where it finds none.
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        DBOS(config=_config(url, executor))
        DBOS.workflow(name=WORKFLOW)(run_solve)
        try:
            # In a thread without an event loop, so that DBOS does not adopt ours.
            await asyncio.to_thread(_launch, most)
            workflows = Workflows(url)
            try:
                yield workflows
            finally:
                workflows.close()
        finally:
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
    finally:
        _taken.release()


def _launch(most: int) -> None:
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=most,
        polling_interval_sec=LOOK_S,
        on_conflict="always_update",
    )


def _config(url: str, executor: str) -> DBOSConfig:
    return {
        "name": NAME,
        "application_version": NAME,
        "executor_id": executor,
        "system_database_url": libpq_url(url),
        "dbos_system_schema": SCHEMA,
        "sys_db_pool_size": CONNECTIONS,
        "use_listen_notify": False,  # nobody waits for a workflow
        "log_level": "ERROR",  # of a database that is away it warns ten times a second
    }


def libpq_url(url: str) -> str:
    """The URL for libpq, which calls `sslmode` what asyncpg calls `ssl`."""
    made = make_url(url)
    query = {"sslmode" if name == "ssl" else name: found for name, found in made.query.items()}
    made = made.set(drivername="postgresql+psycopg", query=query)
    return made.render_as_string(hide_password=False)


async def _awaited(running: Awaitable[None]) -> None:
    await running
