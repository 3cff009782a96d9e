"""The operator's commands: tenants, projects, keys, budgets, and the check of the books."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from app import wiring
from app.accounts import Allowance, Scope, open_key, open_project, open_tenant, set_budget
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import KeyId
from app.ledger.budgets import current_levels
from app.ledger.invariants import check as check_books
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd, to_usd
from app.settings import read_config, read_settings
from app.tenants.directory import find_tenant, listed_keys, listed_tenants, revoke_key

tenants = typer.Typer(help="Tenants.", no_args_is_help=True)
projects = typer.Typer(help="Projects of a tenant.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
budgets = typer.Typer(help="What may be spent.", no_args_is_help=True)

T = TypeVar("T")

WIDTH: Final = 160
"""Room for the widest table: an id that is cut short is none."""

TenantName = Annotated[str, typer.Argument(help="The tenant's name.")]
LimitUsd = Annotated[str, typer.Option(help="Dollars a period.")]
PeriodOption = Annotated[Period, typer.Option(help="How often the budget starts anew.")]
TimezoneOption = Annotated[str, typer.Option(help="IANA time zone of the period.")]


@tenants.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="A name nobody else has.")],
    *,
    limit_usd: LimitUsd = "10",
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
    policy: Annotated[str, typer.Option(help="A policy of the configuration.")] = "default",
    config: Annotated[Path | None, typer.Option(help="TOML file; FATHOM_CONFIG.")] = None,
) -> None:
    """Make a tenant with a budget and a first key, which is shown once."""
    _check_policy(policy, config or read_settings().config)
    allowance = Allowance(_dollars(limit_usd), period, timezone)

    async def work(database: Database) -> str:
        return (await open_tenant(database, name=name, policy=policy, allowance=allowance)).key

    typer.echo(on_database(work))


@tenants.command("list")
def list_tenants() -> None:
    """Every tenant, oldest first."""

    async def work(database: Database) -> None:
        async with database.read() as tx:
            _print(("id", "name", "policy"), await listed_tenants(tx))

    on_database(work)


@projects.command("create")
def create_project(
    tenant: TenantName,
    name: Annotated[str, typer.Argument(help="A name that is new to the tenant.")],
    *,
    limit_usd: LimitUsd = "10",
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
) -> None:
    """Make a project with a budget within its tenant's."""
    allowance = Allowance(_dollars(limit_usd), period, timezone)
    on_database(
        lambda database: open_project(database, tenant=tenant, name=name, allowance=allowance)
    )


@keys.command("create")
def create_key(
    tenant: TenantName,
    *,
    project: Annotated[str | None, typer.Option(help="The project it belongs to.")] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    limit_usd: LimitUsd = "10",
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
) -> None:
    """Make another key of a tenant; it is shown once."""
    allowance = Allowance(_dollars(limit_usd), period, timezone)

    async def work(database: Database) -> str:
        made = await open_key(
            database, tenant=tenant, project=project, name=name, allowance=allowance
        )
        return made.key

    typer.echo(on_database(work))


@keys.command("list")
def list_keys(tenant: TenantName) -> None:
    """A tenant's keys: their public ids, never their secrets."""

    async def work(database: Database) -> None:
        async with database.read() as tx:
            tenant_id = await find_tenant(tx, tenant)
            if tenant_id is None:
                raise InvalidRequest("tenant", f"there is no tenant called {tenant!r}")
            rows = await listed_keys(tx, tenant_id)
        shown = [
            (key, name, project, "revoked" if ended else "") for key, name, project, ended in rows
        ]
        _print(("id", "name", "project", ""), shown)

    on_database(work)


@keys.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="The key's public id.")]) -> None:
    """End a key at once; solves that run go on."""

    async def work(database: Database) -> None:
        async def end(tx: WriteTx) -> None:
            await revoke_key(tx, KeyId(key))

        await database.write(end)

    on_database(work)


@budgets.command("set")
def change_budget(
    tenant: TenantName,
    *,
    limit_usd: Annotated[str, typer.Option(help="Dollars a period.")],
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
    scope: Annotated[Scope, typer.Option(help="Whose spending it bounds.")] = Scope.TENANT,
    name: Annotated[str | None, typer.Option(help="The project's name or the key's id.")] = None,
) -> None:
    """Set a limit; one for another kind of period stands beside those there are."""
    allowance = Allowance(_dollars(limit_usd), period, timezone)
    on_database(
        lambda database: set_budget(
            database, tenant=tenant, scope=scope, name=name, allowance=allowance
        )
    )


@budgets.command("list")
def list_budgets(tenant: TenantName) -> None:
    """Every budget of a tenant in its current period: limit, spent, held, left."""

    async def work(database: Database) -> None:
        async with database.read() as tx:
            tenant_id = await find_tenant(tx, tenant)
            if tenant_id is None:
                raise InvalidRequest("tenant", f"there is no tenant called {tenant!r}")
            levels = await current_levels(tx, tenant_id)
        rows = [
            (
                level.scope,
                level.scope_id,
                level.period.value,
                level.timezone,
                *(f"${to_usd(amount)}" for amount in (level.limit, level.posted, level.reserved)),
                f"${to_usd(level.available)}",
            )
            for level in levels
        ]
        _print(("scope", "id", "period", "zone", "limit", "spent", "held", "left"), rows)

    on_database(work)


def check() -> None:
    """Check every invariant of the ledger on the live database; exit 1 if one does not hold."""
    findings = on_database(check_books)
    for finding in findings:
        detail = f": {finding.detail}" if finding.detail else ""
        typer.echo(f"{'holds' if finding.holds else 'BROKEN'}  {finding.name}{detail}")
    held = sum(finding.holds for finding in findings)
    typer.echo(f"{len(findings)} invariants, {held} hold")
    if held < len(findings):
        raise typer.Exit(1)


def on_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Do the work on the database of FATHOM_DATABASE_URL."""

    async def opened() -> T:
        url = read_settings().database_url
        await wiring.prepare_schema(url)
        database = Database(url)
        try:
            return await work(database)
        finally:
            await database.aclose()

    return asyncio.run(opened())


def _check_policy(name: str, config: Path | None) -> None:
    # Without a file of its own the command cannot know which one the gateway serves.
    known = None if config is None else sorted(read_config(config).policies)
    if known is not None and name not in known:
        raise InvalidRequest(
            "policy", f"the configuration has no {name!r}; it has: {', '.join(known)}"
        )


def _dollars(text: str) -> NanoUSD:
    try:
        return from_usd(text)
    except ValueError as error:
        raise InvalidRequest("limit-usd", str(error)) from None


def _print(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(*columns, box=SIMPLE)
    for row in rows:
        table.add_row(*row)
    Console(width=WIDTH).print(table)
