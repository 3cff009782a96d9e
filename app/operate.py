"""The operator's commands: tenants, projects, keys, erasing texts, and the check of the books."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from app import wiring
from app.accounts import Allowance, open_key, open_project, open_tenant
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import KeyId, SolveId
from app.ledger.invariants import check as check_books
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd
from app.settings import read_config, read_settings
from app.solve.erasure import erase as erase_texts
from app.solve.erasure import erase_tenant
from app.tenants.directory import find_tenant, listed_keys, listed_tenants, revoke_key

tenants = typer.Typer(help="Tenants.", no_args_is_help=True)
projects = typer.Typer(help="Projects of a tenant.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)

T = TypeVar("T")

WIDTH: Final = 160
"""Room for the widest table: an id that is cut short is none."""

TenantName = Annotated[str, typer.Argument(help="The tenant's name.")]
LimitUsd = Annotated[str, typer.Option(help="Dollars a period.")]
PeriodOption = Annotated[Period, typer.Option(help="How often the budget starts anew.")]
CenterOption = Annotated[str | None, typer.Option(help="Where your books put what it spends.")]
TimezoneOption = Annotated[str, typer.Option(help="IANA time zone of the period.")]


@tenants.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="A name nobody else has.")],
    *,
    limit_usd: LimitUsd = "10",
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
    policy: Annotated[str, typer.Option(help="A policy of the configuration.")] = "default",
    org: Annotated[str | None, typer.Option(help="The organisation it belongs to.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; FATHOM_CONFIG.")] = None,
) -> None:
    """Make a tenant with a budget and a first key, which is shown once."""
    _check_policy(policy, config or read_settings().config)
    allowance = Allowance(dollars(limit_usd), period, timezone)

    async def work(database: Database) -> str:
        made = await open_tenant(database, name=name, policy=policy, allowance=allowance, org=org)
        return made.key

    typer.echo(on_database(work))


@tenants.command("list")
def list_tenants() -> None:
    """Every tenant, oldest first."""

    async def work(database: Database) -> None:
        async with database.read() as tx:
            print_table(("id", "name", "policy"), await listed_tenants(tx))

    on_database(work)


@projects.command("create")
def create_project(
    tenant: TenantName,
    name: Annotated[str, typer.Argument(help="A name that is new to the tenant.")],
    *,
    limit_usd: LimitUsd = "10",
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
    cost_center: CenterOption = None,
) -> None:
    """Make a project with a budget within its tenant's."""
    allowance = Allowance(dollars(limit_usd), period, timezone)
    on_database(
        lambda database: open_project(
            database, tenant=tenant, name=name, allowance=allowance, cost_center=cost_center
        )
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
    cost_center: CenterOption = None,
) -> None:
    """Make another key of a tenant; it is shown once."""
    allowance = Allowance(dollars(limit_usd), period, timezone)

    async def work(database: Database) -> str:
        made = await open_key(
            database,
            tenant=tenant,
            project=project,
            name=name,
            allowance=allowance,
            cost_center=cost_center,
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
        print_table(("id", "name", "project", ""), shown)

    on_database(work)


@keys.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="The key's public id.")]) -> None:
    """End a key at once; solves that run go on."""

    async def work(database: Database) -> None:
        async def end(tx: WriteTx) -> None:
            await revoke_key(tx, KeyId(key))

        await database.write(end)

    on_database(work)


def erase(
    solve: Annotated[str | None, typer.Argument(help="A solve's id.")] = None,
    *,
    tenant: Annotated[str | None, typer.Option(help="Every ended solve of this tenant.")] = None,
) -> None:
    """Erase what was asked and answered, for good; what it cost stays on record."""
    if (solve is None) is (tenant is None):
        raise InvalidRequest("erase", "name a solve, or --tenant and its name")

    async def work(database: Database) -> int:
        if solve is not None:
            found = await erase_texts(database, [SolveId(solve)])
            if not found:
                raise InvalidRequest("solve", f"there is no solve {solve!r} that has ended")
            return found
        async with database.read() as tx:
            tenant_id = await find_tenant(tx, tenant or "")
        if tenant_id is None:
            raise InvalidRequest("tenant", f"there is no tenant called {tenant!r}")
        return await erase_tenant(database, tenant_id)

    typer.echo(f"erased the texts of {on_database(work)} solves")


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


def dollars(text: str, *, option: str = "limit-usd") -> NanoUSD:
    """An amount that was typed. Raises InvalidRequest, naming the option, for what is none."""
    try:
        return from_usd(text)
    except ValueError as error:
        raise InvalidRequest(option, str(error)) from None


def print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Show rows on the terminal."""
    table = Table(*columns, box=SIMPLE)
    for row in rows:
        table.add_row(*row)
    Console(width=WIDTH).print(table)
