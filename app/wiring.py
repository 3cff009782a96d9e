"""The composition root: opens what the gateway needs, hands it down by hand, closes it again."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from fakeredis import FakeAsyncRedis
from redis.asyncio import ConnectionPool, Redis

from app.api.state import Services
from app.db import migrate
from app.db.engine import Database, DatabaseUnavailable
from app.ids import uuid7
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.price import Price
from app.ledger.records import Records
from app.providers.completion import Provider
from app.providers.recordings import BadRecordings, Recordings
from app.providers.replay import ReplayProvider
from app.settings import (
    BadConfiguration,
    ExpertConfig,
    GatewayConfig,
    PolicyConfig,
    ReplayProviderConfig,
    Settings,
)
from app.solve.archive import Archive
from app.solve.recover import Recovery
from app.solve.solver import Bench, Solver
from app.store.treelog import TreeLog
from app.tenants.directory import Directory
from app.tenants.policy import Expert, Policy

PACKAGED: Final = "package:"
REDIS_TIMEOUT_S: Final = 2.0


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
) -> AsyncGenerator[Gateway]:
    """The gateway, ready to serve, until the block ends.

    `providers` stand in for those of the configuration. The embedded database is brought to this
    version's schema; any other must be there already, or SchemaBehind is raised.
    """
    async with AsyncExitStack() as stack:
        await prepare_schema(settings.database_url)
        database = Database(settings.database_url)
        stack.push_async_callback(database.aclose)
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        reached = providers or {n: open_provider(p) for n, p in config.providers.items()}
        for provider in reached.values():
            stack.push_async_callback(provider.aclose)
        ledger, records, tree_log = Ledger(database), Records(database), TreeLog(redis)
        bench = Bench(
            experts=await _price_experts(config, ledger),
            providers=reached,
            policies={name: make_policy(name, made) for name, made in config.policies.items()},
        )
        replica = _replica()
        solver = Solver(
            ledger=ledger, records=records, tree_log=tree_log, bench=bench, owner=replica
        )
        leases = Leases(database, replica=replica, lease_s=settings.lease_s)
        await stack.enter_async_context(_recovering(Recovery(solver=solver, leases=leases), leases))
        services = Services(
            directory=Directory(database),
            solver=solver,
            archive=Archive(records=records, tree_log=tree_log),
        )
        yield Gateway(database, ledger, records, services)


@asynccontextmanager
async def _recovering(recovery: Recovery, leases: Leases) -> AsyncGenerator[None]:
    """Keep the lease while the block runs, and give it up at its end."""
    # Before anything is run in its name, a replica must be known to live.
    await leases.beat()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recovery.run())
        yield
        running.cancel()
    with suppress(DatabaseUnavailable):
        await leases.leave()


def open_redis(url: str | None) -> Redis:
    """The Redis at `url`, or one inside this process that forgets when it ends."""
    if url is None:
        return FakeAsyncRedis()
    pool: ConnectionPool = ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
        url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
    )
    return Redis.from_pool(pool)


def open_provider(config: ReplayProviderConfig) -> Provider:
    """The provider that a section of the configuration describes."""
    named = config.recordings
    packaged = named.startswith(PACKAGED)
    path = (
        Path(str(files("app") / "data" / named.removeprefix(PACKAGED))) if packaged else Path(named)
    )
    try:
        return ReplayProvider(Recordings.load(path), latency_s=config.latency_s)
    except (BadRecordings, OSError) as error:
        raise BadConfiguration(f"recordings: {error}") from None


def make_expert(name: str, config: ExpertConfig) -> tuple[Expert, Price]:
    """An expert and what its tokens cost."""
    expert = Expert(
        name=name,
        provider=config.provider,
        model=config.model,
        max_output_tokens=config.max_output_tokens,
        instructions=config.instructions,
        temperature=config.temperature,
        template_tokens=config.template_tokens,
    )
    price = Price(
        provider=config.provider,
        model=config.model,
        input=config.input_usd_per_mtok,
        output=config.output_usd_per_mtok,
    )
    return expert, price


def make_policy(name: str, config: PolicyConfig) -> Policy:
    """A policy; every role that is not named is the default expert's."""
    default = config.default_expert
    return Policy(
        name=name,
        default_expert=default,
        second_opinion_expert=config.second_opinion_expert or default,
        strong_expert=config.strong_expert or default,
        search_experts=tuple(config.search_experts or (default,)),
        value=config.value_usd,
        auto_cap=config.auto_cap_usd,
        search_cap=config.search_cap_usd,
        deadline_s=config.deadline_s,
        concurrency=config.concurrency,
    )


async def _price_experts(
    config: GatewayConfig, ledger: Ledger
) -> Mapping[str, tuple[Expert, Price]]:
    experts = {name: make_expert(name, made) for name, made in config.experts.items()}
    for _, price in experts.values():
        await ledger.register(price)
    return experts


async def prepare_schema(url: str) -> None:
    """Bring the embedded database to this version's schema; any other must have it already."""
    if url.startswith("sqlite"):
        await migrate.upgrade(url)
    else:
        await migrate.check(url)


def _replica() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{uuid7().hex[-8:]}"
