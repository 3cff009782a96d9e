"""The `fathom` command. Every command says what went wrong in one line, and exits 1."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import httpx
import typer
from rich.console import Console

from app import __version__, bounds, finance, judging, operate, reconcile, server, telling, training
from app.db import migrate
from app.demo import WIDTH, run_demo
from app.errors import GatewayError, InvalidRequest
from app.settings import read_config, read_settings
from app.telemetry import logs

app = typer.Typer(help="An inference gateway that decides how deep to think.", no_args_is_help=True)
database_commands = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(database_commands, name="db")
app.add_typer(bounds.orgs, name="orgs")
app.add_typer(operate.tenants, name="tenants")
app.add_typer(operate.projects, name="projects")
app.add_typer(operate.keys, name="keys")
app.add_typer(bounds.budgets, name="budgets")
app.add_typer(telling.webhooks, name="webhooks")
app.add_typer(bounds.limits, name="limits")
app.add_typer(judging.judgements, name="eval")
app.add_typer(training.gate, name="gate")
app.command()(operate.check)
app.command()(operate.erase)
app.command()(finance.refund)
app.command()(finance.adjust)
app.command()(finance.statement)
app.command()(finance.export)
app.command()(reconcile.reconcile)
app.command("cost-center")(finance.bind)

SOLVE_TIMEOUT_S: Final = 600.0

T = TypeVar("T")


class GatewayUnreachable(GatewayError):
    """No gateway answers at the address."""


class GatewayRefused(GatewayError):
    """The gateway answered with a problem."""


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="TOML file; FATHOM_CONFIG.")] = None,
    host: Annotated[str | None, typer.Option(help="Address; FATHOM_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; FATHOM_PORT.")] = None,
) -> None:
    """Run the gateway."""
    settings = read_settings()
    described = read_config(config or settings.config)
    chosen = settings.model_copy(
        update={"host": host or settings.host, "port": settings.port if port is None else port}
    )
    server.serve(chosen, described)


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
    mode: Annotated[str, typer.Option(help="auto, single, search or parallel.")] = "auto",
    expected: Annotated[str | None, typer.Option(help="Score by equality with this.")] = None,
    expression: Annotated[
        str | None, typer.Option(help='Score arithmetic, such as "4 4 6 8=24".')
    ] = None,
    max_cost_usd: Annotated[str | None, typer.Option(help="This solve's cap.")] = None,
) -> None:
    """Send a problem to a running gateway; the answer goes to stdout, the bill to stderr."""
    key = os.environ.get("FATHOM_API_KEY")
    if not key or not key.isascii():
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


def main() -> None:
    """Run the command; a refusal is one line, never a traceback."""
    logs.configure("warning", "console")
    try:
        app()
    except GatewayError as refusal:
        typer.echo(f"fathom: {refusal}", err=True)
        sys.exit(1)


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _post(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = httpx.post(
            url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=SOLVE_TIMEOUT_S
        )
    except httpx.TransportError as error:
        raise GatewayUnreachable(f"{url}: {error}; is `fathom serve` running?") from None
    try:
        document: dict[str, Any] = response.json()
        if response.is_error:
            raise GatewayRefused(f"{document['title']}: {document['detail']}")
    except (ValueError, LookupError, TypeError):
        answered = f"HTTP {response.status_code} and not as a gateway would"
        raise GatewayUnreachable(f"{url}: answered {answered}; is it Fathom?") from None
    return document


def _show(solve: dict[str, Any]) -> None:
    typer.echo(solve["output_text"])
    decision, cost = solve["decision"], solve["cost"]["total_usd"]
    why = "; ".join(decision["top_reasons"])
    typer.echo(f"{solve['id']}  {solve['status']}  {decision['route']} ({why})  ${cost}", err=True)
