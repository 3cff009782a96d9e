"""The commands of whoever keeps the books."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.accounts import Allowance, open_tenant
from app.cli import app
from app.errors import GatewayError
from app.ids import SolveId
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.months import Month
from app.ledger.periods import Period
from app.money import from_usd
from tests.backends import opened
from tests.gateway import sqlite_url
from tests.ledger.books import answered, call, ending, opening

__all__ = ["sqlite_url"]

COST = from_usd("0.000030")


def run(url: str, *arguments: str) -> Result:
    """The command within this process."""
    return CliRunner().invoke(app, arguments, env={"FATHOM_DATABASE_URL": url})


def said(url: str, *arguments: str) -> str:
    """What the command printed, where it must succeed."""
    done = run(url, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def solved(url: str) -> SolveId:
    """A solve of tenant `acme` with one call, which cost COST."""

    async def work() -> SolveId:
        async with opened(url) as database:
            made = await open_tenant(
                database,
                name="acme",
                policy="default",
                allowance=Allowance(from_usd("9"), Period.TOTAL),
            )
            ledger = Ledger(database)
            claim = await ledger.hold(opening(Account(made.tenant_id, made.key_id), COST))
            await call(ledger, claim, answered(COST), max_cost=COST)
            await ledger.finish(claim, ending())
            return claim.solve_id

    return asyncio.run(work())


def test_refund_by_command_is_done_once(sqlite_url: str) -> None:
    """And says what was credited; the books hold."""
    solve = solved(sqlite_url)
    why = ("--reason", "no answer", "--reference", "ticket-7")
    part = ("refund", solve, "--call", f"{solve}:gate.first:1", "--amount", "0.00001", *why)
    for _ in range(2):
        assert "credited $0.00001 under 'ticket-7'" in said(sqlite_url, *part)
    rest = ("refund", solve, "--all", "--reason", "all of it", "--reference", "ticket-8")
    assert f"credited ${COST / Decimal(10**9) - Decimal('0.00001'):f}" in said(sqlite_url, *rest)
    said(sqlite_url, "check")


def test_adjustment_by_command_goes_either_way(sqlite_url: str) -> None:
    """A credit, or a charge for no call in particular."""
    solved(sqlite_url)
    for amount in ("5", "-0.25"):
        why = ("--reason", "contract", "--reference", f"contract {amount}")
        shown = said(sqlite_url, "adjust", "acme", f"--amount={amount}", *why)
        assert f"credited ${Decimal(amount):.2f}" in shown
    said(sqlite_url, "check")


def test_month_is_closed_by_command(sqlite_url: str) -> None:
    """Once it is over; before, it can be shown as it stands."""
    solved(sqlite_url)
    current = str(Month.of(datetime.now(UTC)))
    assert "total        $0.00003" in said(sqlite_url, "statement", "acme", current, "--draft")
    early = run(sqlite_url, "statement", "acme", current)
    assert "can be closed from" in str(early.exception)
    for _ in range(2):
        closed = said(sqlite_url, "statement", "acme", "2026-03")
        assert "acme 2026-03: closed" in closed
        assert "total        $0.00" in closed
    said(sqlite_url, "check")


@pytest.mark.parametrize(("form", "rows"), [("csv", 2), ("jsonl", 1), ("focus", 2)])
def test_export_by_command(sqlite_url: str, tmp_path: Path, form: str, rows: int) -> None:
    """To a file or to stdout, of one tenant or of all; a day is its beginning, in UTC."""
    solved(sqlite_url)
    span = ("export", "--from", "2026-01-01", "--to", "2999-01-01T00:00:00Z", "--format", form)
    shown = said(sqlite_url, *span)
    assert len(shown.splitlines()) == rows
    assert "0.00003" in shown
    file = tmp_path / "charges"
    assert said(sqlite_url, *span, "--tenant", "acme", "--out", str(file)) == ""
    assert file.read_text("utf-8").splitlines() == shown.splitlines()
    before = ("export", "--from", "2026-01-01", "--to", "2026-01-02", "--format", form)
    assert len(said(sqlite_url, *before).splitlines()) == rows - 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--from", "yesterday", "--to", "2026-01-02"), "'yesterday' is no day"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--tenant", "nobody"), "no tenant"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--out", "/nowhere/a"), "/nowhere/a"),
    ],
)
def test_export_that_makes_no_sense_is_refused(
    sqlite_url: str, arguments: tuple[str, ...], why: str
) -> None:
    """In words that say what to change."""
    done = run(sqlite_url, "export", *arguments)
    assert isinstance(done.exception, GatewayError)
    assert why in str(done.exception)


def test_provider_is_reconciled_by_command(sqlite_url: str, tmp_path: Path) -> None:
    """It shows what was reported beside what was known, and what it came to; once a file."""
    solved(sqlite_url)
    file = tmp_path / "november.csv"
    span = ("--from", "2026-01-01", "--to", "2999-01-01")
    exported = json.loads(said(sqlite_url, "export", *span, "--format", "jsonl"))
    rows = f"model,time,key,cost_usd\ncheap-1,{exported['called_at']},key-1,0.000035\n"
    file.write_text(rows, "utf-8")
    command = ("reconcile", str(file), "--provider", "scripted")
    first = said(sqlite_url, *command, *span)
    for part in ("cheap-1", "key-1", "$0.000035", "loss         $0.000005", "in suspense  $0.00"):
        assert part in first
    again = said(sqlite_url, *command)
    assert "imported before: nothing changed" in again
    assert "loss         $0.000005" in again
    said(sqlite_url, "check")


@pytest.mark.parametrize(
    ("content", "more", "why"),
    [
        (b"cost_usd,request_id\n1,r1\n", ("--from", "2026-01-01"), "both --from and --to"),
        (
            b"cost_usd,request_id\n1,r1\n",
            ("--from", "2026-01-02", "--to", "2026-01-01"),
            "is not before --to",
        ),
        (b"\xff\xfe", (), "is not UTF-8"),
        (b"cost_usd,request_id\nmuch,r1\n", (), "row 1: cost_usd"),
        (b"cost_usd,request_id\n", (), "has no row"),
        (None, (), "No such file"),
    ],
)
def test_report_that_makes_no_sense_is_refused(
    sqlite_url: str, tmp_path: Path, content: bytes | None, more: tuple[str, ...], why: str
) -> None:
    """In words that say what to change."""
    file = tmp_path / "report.csv"
    if content is not None:
        file.write_bytes(content)
    done = run(sqlite_url, "reconcile", str(file), "--provider", "scripted", *more)
    assert isinstance(done.exception, GatewayError)
    assert why in str(done.exception)


def test_cost_centers_are_bound_by_command(sqlite_url: str) -> None:
    """When a project or key is made, and later."""
    solved(sqlite_url)
    said(sqlite_url, "projects", "create", "acme", "web", "--cost-center", "CC-1")
    made = said(sqlite_url, "keys", "create", "acme", "--project", "web", "--cost-center", "CC-2")
    key = made.split("_")[1]
    said(sqlite_url, "cost-center", "acme", "CC-3", "--project", "web")
    said(sqlite_url, "cost-center", "acme", "--key", key)
    for wrong in (
        ("acme", "CC-3"),
        ("acme", "CC-3", "--project", "web", "--key", key),
        ("acme", "C" * 65, "--project", "web"),
        ("acme", "CC-3", "--key", "key1"),
        ("nobody", "CC-3", "--project", "web"),
    ):
        assert isinstance(run(sqlite_url, "cost-center", *wrong).exception, GatewayError), wrong


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("refund", "slv_1"), "say how much, or --all"),
        (("refund", "slv_1", "--all", "--amount", "1"), "say how much, or --all"),
        (("refund", "slv_1", "--amount", "1"), "name it"),
        (("refund", "slv_1", "--all"), "no solve 'slv_1'"),
        (("adjust", "nobody", "--amount", "1"), "no tenant called 'nobody'"),
        (("adjust", "nobody", "--amount", "much"), "not a decimal amount"),
    ],
)
def test_refusal_says_what_to_change(sqlite_url: str, arguments: tuple[str, ...], why: str) -> None:
    """As every command's."""
    done = run(sqlite_url, *arguments, "--reason", "r", "--reference", "r")
    assert isinstance(done.exception, GatewayError)
    assert why in str(done.exception)
