"""The commands of whoever keeps the books: refunds and adjustments."""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from app.accounts import bind_cost_center
from app.api.formats import ExportFormat, heading, written
from app.db.engine import Database
from app.errors import InvalidRequest
from app.ids import SolveId, TenantId
from app.ledger.corrections import Corrections, Credit, Refund, Why
from app.ledger.exports import Exports
from app.ledger.months import Month
from app.ledger.statements import Statement, Statements
from app.money import NanoUSD, to_usd
from app.operate import TenantName, dollars, on_database, print_table
from app.tenants.directory import find_tenant, listed_tenants

ReasonOption = Annotated[str, typer.Option(help="Kept with it, and shown to the tenant.")]
ReferenceOption = Annotated[
    str, typer.Option(help="Your own name for this: whatever you repeat under it is done once.")
]


def refund(
    solve: Annotated[str, typer.Argument(help="The solve's id.")],
    *,
    reason: ReasonOption,
    reference: ReferenceOption,
    call: Annotated[
        str | None, typer.Option(help="One call of it, as its receipt names it.")
    ] = None,
    amount: Annotated[str | None, typer.Option(help="Dollars, of that call.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that is left to give back.")
    ] = False,
) -> None:
    """Give a tenant back what it paid, as a credit of today; no budget gets room by it."""
    if everything == (amount is not None):
        raise InvalidRequest("amount", "say how much, or --all")
    asked = Refund(
        SolveId(solve), call, None if amount is None else dollars(amount, option="amount")
    )
    why = Why(reference, reason)

    async def work(database: Database) -> Sequence[Credit]:
        return await Corrections(database).refund(asked, why)

    _show(on_database(work))


def adjust(
    tenant: TenantName,
    *,
    amount: Annotated[str, typer.Option(help="Dollars to credit; negative to charge.")],
    reason: ReasonOption,
    reference: ReferenceOption,
) -> None:
    """Credit a tenant for no call in particular, or charge it; no budget gets room by it."""
    credit, why = dollars(amount, option="amount"), Why(reference, reason)

    async def work(database: Database) -> Credit:
        tenant_id = await named_tenant(database, tenant)
        return await Corrections(database).adjust(tenant_id, credit, why)

    _show([on_database(work)])


def statement(
    tenant: TenantName,
    month: Annotated[str, typer.Argument(help="Such as 2026-11; in UTC.")],
    *,
    draft: Annotated[bool, typer.Option(help="Show it as it stands; close nothing.")] = False,
) -> None:
    """Close a tenant's month and show it; once closed it never changes."""
    asked = Month.parse(month)

    async def work(database: Database) -> Statement:
        tenant_id = await named_tenant(database, tenant)
        statements = Statements(database)
        return await (statements.of if draft else statements.close)(tenant_id, asked)

    told = on_database(work)
    rows = [
        (
            line.cost_center or "-",
            line.expert,
            line.model,
            *(str(n) for n in (line.calls, line.input_tokens, line.output_tokens)),
            f"${to_usd(line.cost)}",
        )
        for line in told.lines
    ]
    print_table(("cost center", "expert", "model", "calls", "tokens in", "out", "cost"), rows)
    state = "open" if told.closed_at is None else f"closed {told.closed_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"{tenant} {told.month}: {state}")
    for name, amount in (
        ("charges", told.charges),
        ("refunds", NanoUSD(-told.refunds)),
        ("adjustments", NanoUSD(-told.adjustments)),
        ("total", told.total),
    ):
        typer.echo(f"{name:<12} ${to_usd(amount)}")


def export(
    *,
    start: Annotated[str, typer.Option("--from", help="Included: a day or an instant, in UTC.")],
    end: Annotated[str, typer.Option("--to", help="Excluded: a day or an instant, in UTC.")],
    form: Annotated[ExportFormat, typer.Option("--format")] = ExportFormat.CSV,
    tenant: Annotated[str | None, typer.Option(help="The tenant's name; else all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it; else to stdout.")] = None,
) -> None:
    """Write down every charge and credit of a span of time; the memory it takes is bounded."""
    since, until = instant("from", start), instant("to", end)

    async def work(database: Database, file: TextIO) -> None:
        whose = None if tenant is None else await named_tenant(database, tenant)
        async with database.read() as tx:
            names = {made: name for made, name, _ in await listed_tenants(tx)}
        file.write(heading(form))
        async for page in Exports(database).pages(start=since, end=until, tenant_id=whose):
            file.write(written(form, page, names))

    with _writing(out) as file:
        on_database(lambda database: work(database, file))


def bind(
    tenant: TenantName,
    cost_center: Annotated[
        str | None, typer.Argument(help="Where your books put what it spends; none if left out.")
    ] = None,
    *,
    project: Annotated[str | None, typer.Option(help="The project's name.")] = None,
    key: Annotated[str | None, typer.Option(help="The key's public id.")] = None,
) -> None:
    """Bind a project, or a key of it, to a cost center from now on: a key's goes first."""
    on_database(
        lambda database: bind_cost_center(
            database, tenant=tenant, project=project, key=key, cost_center=cost_center
        )
    )


async def named_tenant(database: Database, name: str) -> TenantId:
    """The tenant of that name. Raises InvalidRequest where there is none."""
    async with database.read() as tx:
        found = await find_tenant(tx, name)
    if found is None:
        raise InvalidRequest("tenant", f"there is no tenant called {name!r}")
    return found


def instant(field: str, text: str) -> datetime:
    """An instant; a day is its first one, and UTC is meant where nothing else is said.

    Raises InvalidRequest naming the field.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(field, f"{text!r} is no day: write it as 2026-11-21") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _show(posted: Sequence[Credit]) -> None:
    for one in posted:
        typer.echo(f"{one.id}  {one.kind}  {one.call_id or '-'}  ${to_usd(one.amount)}")
    total = NanoUSD(sum(one.amount for one in posted))
    typer.echo(f"credited ${to_usd(total)} under {posted[0].reference!r}")


@contextmanager
def _writing(path: Path | None) -> Generator[TextIO]:
    """The file, or standard output. Raises InvalidRequest for a file that cannot be written."""
    if path is None:
        yield sys.stdout
        return
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidRequest("out", f"{path}: {error.strerror}") from None
    with file:
        yield file
