"""The command that compares a provider's own usage report with the books."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from app.db.engine import Database
from app.errors import InvalidRequest
from app.finance import instant
from app.ledger.provider_reports import ReportFormat, read_report
from app.ledger.reconciliation import Reconciled, Reconciliation, Report
from app.ledger.report_lines import ReportLine
from app.money import NanoUSD, to_usd
from app.operate import on_database, print_table

NAME_MAX = 200


def reconcile(
    file: Annotated[Path, typer.Argument(help="The provider's report.")],
    *,
    provider: Annotated[str, typer.Option(help="As the configuration names it.")],
    form: Annotated[ReportFormat, typer.Option("--format")] = ReportFormat.CSV,
    start: Annotated[
        str | None,
        typer.Option("--from", help="With --to: the span of which it tells everything."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Excluded.")] = None,
) -> None:
    """Settle what waited in suspense by what a provider says it charged; each file counts once.

    It must tell of all keys of the provider. Without --from and --to, calls that it does not
    mention stay as they are.
    """
    content = _read(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("report", f"{file}: is not UTF-8") from None
    name = file.name[:NAME_MAX]
    report = Report(provider, name, content, read_report(text, form), _span(start, end))

    async def work(database: Database) -> Reconciled:
        return await Reconciliation(database).run(report)

    _show(on_database(work))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRequest("report", f"{file}: {error.strerror}") from None


def _span(start: str | None, end: str | None) -> tuple[datetime, datetime] | None:
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise InvalidRequest("from", "say both --from and --to, or neither")
    span = instant("from", start), instant("to", end)
    if span[0] >= span[1]:
        raise InvalidRequest("from", "is not before --to")
    return span


def _show(done: Reconciled) -> None:
    columns = ("key", "model", "hour (UTC)", "rows", "calls", "reported", "known", "suspense", "")
    print_table((*columns, "difference"), [_cells(line) for line in done.lines])
    settled = NanoUSD(sum(line.suspended for line in done.lines))
    typer.echo(f"{done.report_id}{'  imported before: nothing changed' if done.repeated else ''}")
    for name, amount in (
        ("loss", done.loss),
        ("gain", done.gain),
        ("settled", settled),
        ("in suspense", done.waiting),
    ):
        typer.echo(f"{name:<12} ${to_usd(amount)}")


def _cells(line: ReportLine) -> tuple[str, ...]:
    return (
        line.key or "-",
        line.model or "-",
        "-" if line.hour is None else f"{line.hour:%Y-%m-%d %H:%M}",
        str(line.rows),
        str(line.calls),
        *(f"${to_usd(amount)}" for amount in (line.reported, line.known, line.suspended)),
        "no call of ours" if line.is_unknown else "",
        f"${to_usd(line.difference)}",
    )
