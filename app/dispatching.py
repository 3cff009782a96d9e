"""Wires the dispatchers: every way in which a solve gets to run in this process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from app.db.engine import Database
from app.dispatch.background import Background
from app.dispatch.batch_runner import BatchRunner
from app.dispatch.batches import Batches
from app.dispatch.claimed import ClaimTurns
from app.dispatch.dispatcher import Dispatcher
from app.dispatch.inline import Inline
from app.dispatch.line_work import LineWork
from app.dispatch.turns import Bounds, Turns
from app.ledger.batch_lines import BatchLines
from app.ledger.batches import BatchBook
from app.ledger.ledger import Ledger
from app.ledger.records import Records
from app.settings import BadConfiguration, GatewayConfig, Settings
from app.solve.running import Running
from app.solve.solver import Solver
from app.telemetry.metrics import Metrics
from app.telemetry.queueing import QueueMetrics
from app.telemetry.readiness import Drain
from app.tenants.directory import Directory


@dataclass(frozen=True, slots=True)
class Parts:
    """What the dispatchers have in common."""

    database: Database
    ledger: Ledger
    records: Records
    directory: Directory
    solver: Solver
    running: Running
    drain: Drain
    replica: str
    turns: ClaimTurns


@dataclass(frozen=True, slots=True)
class Dispatchers:
    """Every way in which a solve gets to run."""

    inline: Inline
    background: Dispatcher
    batches: Batches


@asynccontextmanager
async def dispatching(parts: Parts, settings: Settings) -> AsyncGenerator[Dispatchers]:
    """Runs solves while the block runs, and hands over what is left of those without a client."""
    solver, turns, weights = parts.solver, parts.turns.turns, parts.turns.weights
    book = BatchBook(parts.database)
    lines = BatchLines(parts.database, replica=parts.replica, lease_s=settings.lease_s)
    runner = BatchRunner(
        book=book,
        lines=lines,
        directory=parts.directory,
        work=LineWork(solver, parts.ledger, parts.records, lines, turns, weights),
        drain=parts.drain,
        most=settings.batch_max,
    )
    async with (
        _in_background(parts, settings) as background,
        task_group() as tasks,
    ):
        batching = tasks.create_task(runner.run(hand_over_s=settings.lease_s))
        auditing = tasks.create_task(_audit(solver))
        yield Dispatchers(
            inline=Inline(solver=solver, turns=turns, weights=weights),
            background=background,
            batches=Batches(book=book, lines=lines, runner=runner, running=parts.running),
        )
        batching.cancel()
        auditing.cancel()
        parts.drain.begun = True  # or it would claim again what it hands over
        await background.hand_over(within_s=settings.lease_s)


async def _audit(solver: Solver) -> None:
    if solver.learned.auditing is not None:
        await solver.learned.auditing.run(solver)


@asynccontextmanager
async def _in_background(parts: Parts, settings: Settings) -> AsyncGenerator[Dispatcher]:
    """Who runs what no client waits for, while the block runs."""
    async with task_group() as tasks:
        if settings.dispatch == "inline":
            yield Background(
                solver=parts.solver,
                turns=parts.turns.turns,
                weights=parts.turns.weights,
                tasks=tasks,
                most=settings.background_max,
            )
            return
        if not settings.database_url.startswith("postgresql"):
            raise BadConfiguration("FATHOM_DISPATCH=dbos: needs PostgreSQL as the database")
        if find_spec("dbos") is None:
            raise BadConfiguration("FATHOM_DISPATCH=dbos: pip install fathom-gateway[dbos]")
        from app.dispatch.durable import serving  # noqa: PLC0415 - an extra

        async with serving(
            parts.database,
            solver=parts.solver,
            turns=parts.turns,
            running=parts.running,
            drain=parts.drain,
            replica=parts.replica,
            lease_s=settings.lease_s,
            most=settings.background_max,
            tasks=tasks,
        ) as durable:
            yield durable


def make_turns(
    settings: Settings, config: GatewayConfig, metrics: Metrics, directory: Directory
) -> ClaimTurns:
    """The turns of this process."""
    bounds = Bounds(running=settings.solves_max, waiting=settings.queue_max, low=settings.batch_max)
    turns = Turns(bounds, metrics=QueueMetrics(metrics.registry))
    weights = {name: policy.weight for name, policy in config.policies.items()}
    return ClaimTurns(turns, weights, directory)


@asynccontextmanager
async def task_group() -> AsyncGenerator[asyncio.TaskGroup]:
    """A task group that raises a lone failure as itself, so that its block's is not wrapped."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) == 1:
            raise failures.exceptions[0] from None
        raise
