"""The `fathom` command. Every command says what went wrong in one line, and exits 1."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import httpx
import typer
import uvicorn
from rich.console import Console

from app import __version__, wiring
from app.accounts import Allowance, open_key, open_tenant
from app.db import migrate
from app.db.engine import Database
from app.demo import WIDTH, run_demo
from app.errors import GatewayError, InvalidRequest
from app.ledger.periods import Period
from app.main import create_app
from app.money import NanoUSD, from_usd
from app.settings import read_config, read_settings

app = typer.Typer(help="An inference gateway that decides how deep to think.", no_args_is_help=True)
database_commands = typer.Typer(help="The database's schema.", no_args_is_help=True)
tenant_commands = typer.Typer(help="Tenants.", no_args_is_help=True)
key_commands = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(database_commands, name="db")
app.add_typer(tenant_commands, name="tenants")
app.add_typer(key_commands, name="keys")

SOLVE_TIMEOUT_S: Final = 600.0

T = TypeVar("T")


class GatewayUnreachable(GatewayError):
    """No gateway answers at the address."""


class GatewayRefused(GatewayError):
    """The gateway answered with a problem."""


LimitUsd = Annotated[str, typer.Option(help="Dollars a period.")]
PeriodOption = Annotated[Period, typer.Option(help="How often the budget starts anew.")]
TimezoneOption = Annotated[str, typer.Option(help="IANA time zone of the period.")]


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="TOML file; FATHOM_CONFIG.")] = None,
    host: Annotated[str | None, typer.Option(help="Address; FATHOM_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; FATHOM_PORT.")] = None,
) -> None:
    """Run the gateway."""
    settings = read_settings()
    described = read_config(config or settings.config)
    uvicorn.run(
        create_app(settings, described), host=host or settings.host, port=port or settings.port
    )


@app.command()
def demo() -> None:
    """Solve recorded puzzles three ways, and show what accuracy cost. No key, no network."""
    if not _run(run_demo(read_settings(), Console(width=WIDTH))):
        raise typer.Exit(1)


@app.command()
def solve(
    problem: Annotated[str, typer.Argument(help="The problem; - reads standard input.")],
    *,
    url: Annotated[str, typer.Option(envvar="FATHOM_URL")] = "http://127.0.0.1:8080",
    mode: Annotated[str, typer.Option(help="auto, single or search.")] = "auto",
    expected: Annotated[str | None, typer.Option(help="Score by equality with this.")] = None,
    expression: Annotated[
        str | None, typer.Option(help='Score arithmetic, such as "4 4 6 8=24".')
    ] = None,
    max_cost_usd: Annotated[str | None, typer.Option(help="This solve's cap.")] = None,
) -> None:
    """Send a problem to a running gateway; the answer goes to stdout, the bill to stderr."""
    key = os.environ.get("FATHOM_API_KEY")
    if key is None:
        raise InvalidRequest(
            "FATHOM_API_KEY", "set it to a key, such as one of `fathom tenants create`"
        )
    body: dict[str, Any] = {"input": sys.stdin.read() if problem == "-" else problem, "mode": mode}
    if expected is not None:
        body["evaluators"] = [{"type": "exact", "config": {"expected": expected}}]
    if expression is not None:
        numbers, _, target = expression.partition("=")
        config = {"numbers": numbers.split(), "target": target.strip()}
        body["evaluators"] = [{"type": "expression", "config": config}]
    if max_cost_usd is not None:
        body["budget"] = {"max_cost_usd": max_cost_usd}
    _show(_post(f"{url}/v1/solve", key, body))


@database_commands.command("upgrade")
def upgrade() -> None:
    """Bring the database of FATHOM_DATABASE_URL to this version's schema."""
    url = read_settings().database_url
    _run(migrate.upgrade(url))
    typer.echo(f"{url.partition('://')[0]}: at the schema of fathom {__version__}")


@tenant_commands.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="A name nobody else has.")],
    limit_usd: LimitUsd = "10",
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
    policy: Annotated[str, typer.Option(help="A policy of the configuration.")] = "default",
) -> None:
    """Make a tenant with a budget and a first key, which is shown once."""

    async def work(database: Database) -> str:
        allowance = Allowance(_dollars(limit_usd), period, timezone)
        return (await open_tenant(database, name=name, policy=policy, allowance=allowance)).key

    typer.echo(_on_database(work))


@key_commands.command("create")
def create_key(
    tenant: Annotated[str, typer.Argument(help="The tenant's name.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    limit_usd: LimitUsd = "10",
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
) -> None:
    """Make another key of a tenant; it is shown once."""

    async def work(database: Database) -> str:
        allowance = Allowance(_dollars(limit_usd), period, timezone)
        return (await open_key(database, tenant=tenant, name=name, allowance=allowance)).key

    typer.echo(_on_database(work))


def main() -> None:
    """Run the command; a refusal is one line, never a traceback."""
    try:
        app()
    except GatewayError as refusal:
        typer.echo(f"fathom: {refusal}", err=True)
        sys.exit(1)


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _on_database(work: Callable[[Database], Awaitable[T]]) -> T:
    async def opened() -> T:
        url = read_settings().database_url
        await wiring.prepare_schema(url)
        database = Database(url)
        try:
            return await work(database)
        finally:
            await database.aclose()

    return asyncio.run(opened())


def _dollars(text: str) -> NanoUSD:
    try:
        return from_usd(text)
    except ValueError as error:
        raise InvalidRequest("limit-usd", str(error)) from None


def _post(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = httpx.post(
            url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=SOLVE_TIMEOUT_S
        )
    except httpx.TransportError as error:
        raise GatewayUnreachable(f"{url}: {error}; is `fathom serve` running?") from None
    document: dict[str, Any] = response.json()
    if response.is_error:
        raise GatewayRefused(f"{document['title']}: {document['detail']}")
    return document


def _show(solve: dict[str, Any]) -> None:
    typer.echo(solve["output_text"])
    decision, cost = solve["decision"], solve["cost"]["total_usd"]
    why = "; ".join(decision["top_reasons"])
    typer.echo(f"{solve['id']}  {solve['status']}  {decision['route']} ({why})  ${cost}", err=True)
