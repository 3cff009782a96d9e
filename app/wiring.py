"""The composition root: opens what the gateway needs, hands it down by hand, closes it again."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from fakeredis import FakeAsyncRedis
from redis.asyncio import ConnectionPool, Redis

from app import __version__
from app.api.state import Services
from app.catalogue import make_policy, open_provider, price_experts
from app.db import migrate
from app.db.engine import Database, DatabaseUnavailable
from app.db.probe import database_trouble, schema_trouble
from app.ids import uuid7
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.records import Records
from app.ledger.usage import Usage
from app.providers.completion import Provider
from app.settings import (
    BadConfiguration,
    GatewayConfig,
    Settings,
)
from app.solve.archive import Archive
from app.solve.background import Background
from app.solve.cancelling import Cancelling
from app.solve.following import Following
from app.solve.recover import Recovery
from app.solve.running import Running
from app.solve.solver import Bench, Solver
from app.solve.tally import Tally
from app.solve.watch import Watch
from app.store.probe import redis_trouble
from app.store.treelog import TreeLog
from app.telemetry.metrics import TENANTS_MAX, Metrics
from app.telemetry.readiness import Drain, Readiness
from app.tenants.directory import Directory

REDIS_TIMEOUT_S: Final = 2.0
REPLICA_HOST_MAX: Final = 40
"""Of a replica's name, which has 64 characters for host, process and a random part."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything that was opened."""

    database: Database
    ledger: Ledger
    records: Records
    services: Services


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    config: GatewayConfig,
    *,
    providers: Mapping[str, Provider] | None = None,
    drain: Drain | None = None,
) -> AsyncGenerator[Gateway]:
    """The gateway, ready to serve, until the block ends.

    `providers` stand in for those of the configuration. The embedded database is brought to this
    version's schema; any other must be there already, or SchemaBehind is raised.
    """
    drain = Drain() if drain is None else drain
    async with AsyncExitStack() as stack:
        await prepare_schema(settings.database_url)
        database = Database(settings.database_url)
        stack.push_async_callback(database.aclose)
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        reached = providers or {
            name: open_provider(name, made) for name, made in config.providers.items()
        }
        for provider in reached.values():
            stack.push_async_callback(provider.aclose)
        ledger, records, tree_log = Ledger(database), Records(database), TreeLog(redis)
        bench = await make_bench(config, ledger, reached)
        metrics = make_metrics(settings, config)
        await stack.enter_async_context(_watching(Watch(database=database, metrics=metrics)))
        replica, running = _replica(), Running()
        solver = Solver(
            ledger=ledger,
            records=records,
            tree_log=tree_log,
            bench=bench,
            tally=Tally(metrics),
            running=running,
            owner=replica,
        )
        # A connection of its own: a replica under load must not look dead for want of one.
        beats = Database(settings.database_url, connections=1)
        stack.push_async_callback(beats.aclose)
        leases = Leases(beats, replica=replica, lease_s=settings.lease_s)
        recovery = Recovery(solver=solver, leases=leases, running=running, drain=drain)
        await stack.enter_async_context(_recovering(recovery, leases))
        archive = Archive(records=records, tree_log=tree_log)
        services = Services(
            directory=Directory(database),
            solver=solver,
            background=await stack.enter_async_context(_in_background(solver, settings)),
            cancelling=Cancelling(ledger=ledger, archive=archive, running=running),
            archive=archive,
            following=Following(have_ended=records.have_ended, tree_log=tree_log, drain=drain),
            readiness=make_readiness(database, redis, drain),
            metrics=metrics,
            ledger=ledger,
            usage=Usage(database),
        )
        yield Gateway(database, ledger, records, services)


@asynccontextmanager
async def _recovering(recovery: Recovery, leases: Leases) -> AsyncGenerator[None]:
    """Keep the lease while the block runs, and give it up at its end."""
    # Before anything is run in its name, a replica must be known to live.
    await leases.beat()
    async with _tasks() as tasks:
        running = tasks.create_task(recovery.run())
        yield
        running.cancel()
    with suppress(DatabaseUnavailable):
        await leases.leave()


@asynccontextmanager
async def _in_background(solver: Solver, settings: Settings) -> AsyncGenerator[Background]:
    """Runs solves in the background while the block runs, and hands over what is left of them."""
    async with _tasks() as tasks:
        background = Background(solver=solver, tasks=tasks, most=settings.background_max)
        yield background
        await background.hand_over(within_s=settings.lease_s)


@asynccontextmanager
async def _watching(watch: Watch) -> AsyncGenerator[None]:
    """Keep the gauges fresh while the block runs."""
    # Once before the first request, so that its tenant has a name.
    await watch.refresh()
    stop = asyncio.Event()
    async with _tasks() as tasks:
        tasks.create_task(watch.run(stop))
        try:
            yield
        finally:
            stop.set()


@asynccontextmanager
async def _tasks() -> AsyncGenerator[asyncio.TaskGroup]:
    """A task group that raises a lone failure as itself, so that its block's is not wrapped."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) == 1:
            raise failures.exceptions[0] from None
        raise


async def make_bench(
    config: GatewayConfig, ledger: Ledger, providers: Mapping[str, Provider]
) -> Bench:
    """Who can answer, at prices that are on record."""
    return Bench(
        experts=await price_experts(config, ledger),
        providers=providers,
        policies={name: make_policy(name, made) for name, made in config.policies.items()},
    )


def make_metrics(settings: Settings, config: GatewayConfig) -> Metrics:
    """The metrics of this process; what their labels may say is known from here on."""
    tenants = [name.strip() for name in settings.metrics_tenants.split(",") if name.strip()]
    if len(tenants) > TENANTS_MAX:
        raise BadConfiguration(f"FATHOM_METRICS_TENANTS: names more than {TENANTS_MAX} tenants")
    return Metrics(version=__version__, experts=config.experts, tenants=tenants)


def make_readiness(database: Database, redis: Redis, drain: Drain) -> Readiness:
    """What must answer for requests to be sent here."""
    revisions = migrate.revisions()
    return Readiness(
        {
            "database": lambda: database_trouble(database),
            "schema": lambda: schema_trouble(database, revisions),
            "redis": lambda: redis_trouble(redis),
        },
        drain,
    )


def open_redis(url: str | None) -> Redis:
    """The Redis at `url`, or one inside this process that forgets when it ends."""
    # Without a timeout of the client's own for commands: on Python 3.11 it loses a cancellation
    # that arrives while it writes (asyncio.wait_for does). Who sends a command bounds it.
    if url is None:
        return FakeAsyncRedis(socket_timeout=None)
    pool: ConnectionPool = ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
        url, socket_timeout=None, socket_connect_timeout=REDIS_TIMEOUT_S
    )
    return Redis.from_pool(pool)


async def prepare_schema(url: str) -> None:
    """Bring the embedded database to this version's schema; any other must have it already."""
    if url.startswith("sqlite"):
        await migrate.upgrade(url)
    else:
        await migrate.check(url)


def _replica() -> str:
    return f"{socket.gethostname()[:REPLICA_HOST_MAX]}:{os.getpid()}:{uuid7().hex[-8:]}"
