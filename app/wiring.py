"""The composition root: opens what the gateway needs, hands it down by hand, closes it again."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from fakeredis import FakeAsyncRedis
from redis.asyncio import ConnectionPool, Redis

from app import __version__
from app.api.state import Operator, Services
from app.catalogue import PACKAGED, make_policy, open_provider, price_experts, read_weights
from app.db import migrate
from app.db.engine import Database, DatabaseUnavailable
from app.db.probe import database_trouble, schema_trouble
from app.dispatching import Parts, dispatching, make_turns, task_group
from app.gate.audited import SCOPES
from app.gate.certificate import Promise
from app.ids import uuid7
from app.learning.audits import Audits
from app.learning.learner import Learner
from app.learning.scorecards import Scorecards
from app.learning.training import Training
from app.ledger.alerts import Alerts
from app.ledger.books import Books
from app.ledger.failed_claims import FailedClaims
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.listing import Listing
from app.ledger.records import Records
from app.ledger.usage import Usage
from app.notices.addresses import origin
from app.notices.admission import Webhooks
from app.notices.delivery import Delivery
from app.notices.mail import Mailer, mail_server
from app.notices.outbox import Outbox
from app.notices.poster import Poster
from app.providers.completion import Provider
from app.settings import BadConfiguration, GatewayConfig, Settings
from app.solve.archive import Archive
from app.solve.auditing import Auditing
from app.solve.benefit import Benefit
from app.solve.cancelling import Cancelling
from app.solve.erasure import Erasure
from app.solve.following import Following
from app.solve.giving_up import GivingUp
from app.solve.labelling import Labelling
from app.solve.learned import Learned
from app.solve.recover import Recovery
from app.solve.replaying import Replaying
from app.solve.resuming import Resuming
from app.solve.running import Running
from app.solve.solver import Solver
from app.solve.start import Bench
from app.solve.tally import Tally
from app.solve.watch import Watch
from app.store.probe import redis_trouble
from app.store.treelog import TreeLog
from app.telemetry.auditing import AuditMetrics
from app.telemetry.metrics import TENANTS_MAX, Metrics
from app.telemetry.readiness import Drain, Readiness
from app.tenants.directory import Directory

REDIS_TIMEOUT_S: Final = 2.0
HOUR_S: Final = 3600.0
REPLICA_HOST_MAX: Final = 40
"""Of a replica's name, which has 64 characters for host, process and a random part."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything that was opened."""

    database: Database
    ledger: Ledger
    records: Records
    services: Services
    learner: Learner


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
        database, redis = await _stores(stack, settings)
        reached = _reached(stack, config, providers)
        ledger, records, tree_log = Ledger(database), Records(database), TreeLog(redis)
        metrics, running, replica = make_metrics(settings, config), Running(), _replica()
        await stack.enter_async_context(_watching(Watch(database=database, metrics=metrics)))
        learner = make_learner(config, database, drain)
        learns = _learning(make_learned(config, database, learner, metrics, drain), settings, drain)
        solver = Solver(
            ledger=ledger,
            records=records,
            tree_log=tree_log,
            bench=await make_bench(config, ledger, reached),
            tally=Tally(metrics),
            running=running,
            owner=replica,
            learned=await stack.enter_async_context(learns),
        )
        archive, directory = Archive(records=records, tree_log=tree_log), Directory(database)
        turns = make_turns(settings, config, metrics, directory)
        parts = Parts(database, ledger, records, directory, solver, running, drain, replica, turns)
        await stack.enter_async_context(_recovering(parts, settings, metrics))
        await stack.enter_async_context(_sweeping(settings, database, metrics, drain))
        dispatchers = await stack.enter_async_context(dispatching(parts, settings))
        services = Services(
            directory=directory,
            solver=solver,
            inline=dispatchers.inline,
            background=dispatchers.background,
            batches=dispatchers.batches,
            labelling=Labelling(archive=archive, learner=learner),
            cancelling=Cancelling(ledger=ledger, archive=archive, running=running),
            archive=archive,
            webhooks=Webhooks(database, allowed=allowed_origins(settings)),
            resuming=Resuming(archive=archive, ledger=ledger, records=records, providers=reached),
            replaying=Replaying(archive=archive, ledger=ledger, records=records, solver=solver),
            listing=Listing(database),
            following=Following(have_ended=records.have_ended, tree_log=tree_log, drain=drain),
            readiness=make_readiness(database, redis, drain),
            metrics=metrics,
            ledger=ledger,
            usage=Usage(database),
            benefit=_benefit(config, database),
            books=Books.of(database),
            operator=_operator(settings, database),
        )
        yield Gateway(database, ledger, records, services, learner)


def _benefit(config: GatewayConfig, database: Database) -> Benefit:
    """What the gate brings, at each policy's price of an error and the platform's cost."""
    values = {name: policy.value_usd for name, policy in config.policies.items()}
    return Benefit(database, values=values, fixed=config.platform_cost_usd_month)


async def _stores(stack: AsyncExitStack, settings: Settings) -> tuple[Database, Redis]:
    """Where money and trees are kept, which are closed with the stack."""
    await prepare_schema(settings.database_url)
    database = Database(settings.database_url)
    stack.push_async_callback(database.aclose)
    redis = open_redis(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    return database, redis


def _reached(
    stack: AsyncExitStack, config: GatewayConfig, providers: Mapping[str, Provider] | None
) -> Mapping[str, Provider]:
    """The providers, which are closed with the stack; the configuration's where none are given."""
    reached = providers or {
        name: open_provider(name, made) for name, made in config.providers.items()
    }
    for provider in reached.values():
        stack.push_async_callback(provider.aclose)
    return reached


@asynccontextmanager
async def _recovering(parts: Parts, settings: Settings, metrics: Metrics) -> AsyncGenerator[None]:
    """Keep the lease while the block runs, and give it up at its end."""
    # A connection of its own: a replica under load must not look dead for want of one.
    beats = Database(settings.database_url, connections=1)
    leases = Leases(beats, replica=parts.replica, lease_s=settings.lease_s)
    giving_up = GivingUp(
        ledger=parts.ledger,
        records=parts.records,
        claims=FailedClaims(parts.database),
        tally=Tally(metrics),
    )
    recovery = Recovery(
        solver=parts.solver,
        leases=leases,
        running=parts.running,
        giving_up=giving_up,
        turn=parts.turns.turn,
        drain=parts.drain,
    )
    try:
        # Before anything is run in its name, a replica must be known to live.
        await leases.beat()
        async with task_group() as tasks:
            keeping = tasks.create_task(recovery.run())
            yield
            parts.drain.begun = True  # or it would claim again what it hands over
            await recovery.hand_over(within_s=settings.lease_s)
            keeping.cancel()
        with suppress(DatabaseUnavailable):
            await leases.leave()
    finally:
        await beats.aclose()


@asynccontextmanager
async def _learning(learned: Learned, settings: Settings, drain: Drain) -> AsyncGenerator[Learned]:
    """Learn while the block runs, and keep what was learned."""
    learner, scorecards, auditing = learned.learner, learned.scorecards, learned.auditing
    assert learner is not None
    assert scorecards is not None
    assert auditing is not None
    await learner.begin()
    await scorecards.begin()
    await auditing.audits.begin()
    stop, every_s = asyncio.Event(), settings.gate_train_hours * HOUR_S
    async with task_group() as tasks:
        tasks.create_task(learner.run(stop))
        tasks.create_task(scorecards.run(stop))
        tasks.create_task(auditing.audits.run(stop))
        if every_s:
            tasks.create_task(Training(learner, drain=drain).run(stop, every_s=every_s))
        try:
            yield learned
        finally:
            stop.set()


@asynccontextmanager
async def _watching(watch: Watch) -> AsyncGenerator[None]:
    """Keep the gauges fresh while the block runs."""
    # Once before the first request, so that its tenant has a name.
    await watch.refresh()
    stop = asyncio.Event()
    async with task_group() as tasks:
        tasks.create_task(watch.run(stop))
        try:
            yield
        finally:
            stop.set()


@asynccontextmanager
async def _sweeping(
    settings: Settings, database: Database, metrics: Metrics, drain: Drain
) -> AsyncGenerator[None]:
    """Look for what is to be told, deliver it, and erase old texts, while the block runs."""
    poster, stop = Poster(allowed=allowed_origins(settings)), asyncio.Event()
    delivery = Delivery(
        database=database,
        outbox=Outbox(database),
        poster=poster,
        mailer=make_mailer(settings),
        metrics=metrics,
        drain=drain,
    )
    try:
        async with task_group() as tasks:
            tasks.create_task(delivery.run(stop))
            tasks.create_task(Alerts(database=database, drain=drain).run(stop))
            tasks.create_task(Erasure(database=database, drain=drain).run(stop))
            try:
                yield
            finally:
                stop.set()
    finally:
        await poster.aclose()


def make_learner(config: GatewayConfig, database: Database, drain: Drain) -> Learner:
    """The gate's weights, as configured. Raises BadConfiguration."""
    chosen = not config.gate.weights.startswith(PACKAGED)
    document = read_weights(config.gate)
    return Learner(database=database, document=document, chosen=chosen, drain=drain)


def make_learned(
    config: GatewayConfig, database: Database, learner: Learner, metrics: Metrics, drain: Drain
) -> Learned:
    """What is learned here: labels, scores, and audits for the promises that policies ask for."""
    counted = AuditMetrics(metrics.registry, scopes=SCOPES)
    promises = {Promise(made.risk_epsilon, made.risk_delta) for made in config.policies.values()}
    auditing = Auditing(
        audits=Audits(
            database,
            promises=promises,
            doubt=learner.doubt,
            metrics=counted,
            drain=drain,
        ),
        learner=learner,
        directory=Directory(database),
        payer=config.gate.audit_tenant,
        metrics=counted,
    )
    return Learned(learner, Scorecards(database, drain=drain), auditing)


async def make_bench(
    config: GatewayConfig, ledger: Ledger, providers: Mapping[str, Provider]
) -> Bench:
    """Who can answer, at prices that are on record."""
    return Bench(
        experts=await price_experts(config, ledger),
        providers=providers,
        policies={name: make_policy(name, made) for name, made in config.policies.items()},
    )


def allowed_origins(settings: Settings) -> Sequence[str]:
    """The origins inside that tenants' webhooks may reach, because the operator says so."""
    named = [url.strip() for url in settings.webhooks_allow.split(",") if url.strip()]
    found = [origin(url) for url in named]
    if None in found:
        raise BadConfiguration("FATHOM_WEBHOOKS_ALLOW: origins such as http://10.1.2.3:9000")
    return [known for known in found if known is not None]


def make_mailer(settings: Settings) -> Mailer:
    """Hands mail to the operator's server, where there is one."""
    if settings.smtp_url is None:
        return Mailer(None)
    try:
        return Mailer(mail_server(settings.smtp_url, sender=settings.smtp_from))
    except ValueError:  # which may quote the password
        raise BadConfiguration("FATHOM_SMTP_URL: smtp[s]://[user:password@]host[:port]") from None


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


def _operator(settings: Settings, database: Database) -> Operator | None:
    key = settings.admin_key
    return None if key is None else Operator(key.get_secret_value(), database)


def _replica() -> str:
    return f"{socket.gethostname()[:REPLICA_HOST_MAX]}:{os.getpid()}:{uuid7().hex[-8:]}"
