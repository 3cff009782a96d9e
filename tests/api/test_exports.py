"""Exports: every row once, in bounded pages, adding up to the statement."""

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.api.focus import COLUMNS
from app.api.formats import ExportFormat
from app.db.engine import Database
from app.ids import SolveId
from app.ledger.corrections import Corrections, Refund, Why
from app.ledger.exports import ChargeRow, Exports
from app.ledger.ledger import Ledger
from app.ledger.months import Month
from app.ledger.periods import FOREVER
from app.money import NanoUSD, to_usd
from app.providers.scripted import reply
from tests.backends import account
from tests.gateway import Fathom, Json, cost, fathom, open_account, unexpected
from tests.ledger.books import answered, call, ending, opening
from tests.ledger.test_statements import backdate, entries

ANSWER = reply("391", input_tokens=10, output_tokens=5)

# FOCUS 1.2: the columns that every dataset must have.
REQUIRED = {
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
}


async def exported(gateway: Fathom, form: str, **query: str) -> list[Json]:
    """The rows of an export, as its reader sees them."""
    read = await gateway.client.get("/v1/usage/export", params={"format": form} | query)
    assert read.status_code == 200, read.text
    assert "attachment" in read.headers["content-disposition"]
    if form == "jsonl":
        return [json.loads(line) for line in read.text.splitlines()]
    return list(csv.DictReader(read.text.splitlines()))


async def busy(gateway: Fathom) -> None:
    """Three solves, one of them refunded, and a debit."""
    solves = [await gateway.solved({"mode": "single"}) for _ in range(3)]
    corrections = Corrections(gateway.gateway.database)
    await corrections.refund(Refund(SolveId(solves[0]["id"])), Why("t-1", 'said "no", twice'))
    await corrections.adjust(gateway.account.tenant_id, NanoUSD(-7), Why("t-2", "minimum"))


@pytest.mark.parametrize("form", ["csv", "jsonl", "focus"])
async def test_export_adds_up_to_the_statement(database_url: str, form: str) -> None:
    """A row for each charge and credit, whatever the form."""
    async with fathom(database_url, ANSWER) as gateway:
        await busy(gateway)
        rows = await exported(gateway, form)
        month = Month.of(datetime.now(UTC))
        told = (await gateway.client.get(f"/v1/statements/{month}")).json()
        amounts = [row["BilledCost" if form == "focus" else "amount_usd"] for row in rows]
        assert len(rows) == 5
        assert sum(map(Decimal, amounts)) == Decimal(told["total_usd"])
        kinds = [row["ChargeCategory" if form == "focus" else "kind"] for row in rows]
        expected = ["Usage"] * 3 + ["Credit", "Adjustment"]
        assert kinds == (expected if form == "focus" else ["charge"] * 3 + ["refund", "adjustment"])


async def test_own_columns_say_what_was_called(sqlite_url: str) -> None:
    """And why something was given back, quoted as CSV does."""
    async with fathom(sqlite_url, ANSWER) as gateway:
        await busy(gateway)
        first, *_, refund, debit = await exported(gateway, "csv")
        assert (first["expert"], first["op"], first["amount_usd"]) == (
            "cheap",
            "gate.first",
            to_usd(cost(10, 5)),
        )
        assert (first["input_tokens"], first["output_tokens"]) == ("10", "5")
        assert first["tenant_id"] == gateway.account.tenant_id
        assert (refund["reason"], refund["call_id"]) == ('said "no", twice', first["call_id"])
        assert (debit["amount_usd"], debit["solve_id"]) == ("0.000000007", "")


async def test_focus_has_the_columns_that_it_requires(sqlite_url: str) -> None:
    """In a form that its readers parse: decimal costs, UTC instants, whole periods."""
    async with fathom(sqlite_url, ANSWER) as gateway:
        await busy(gateway)
        rows = await exported(gateway, "focus")
        assert set(COLUMNS) >= REQUIRED
        assert list(rows[0]) == list(COLUMNS)
        month = Month.of(datetime.now(UTC))
        for row in rows:
            assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"]
            assert row["BillingPeriodStart"] == f"{month}-01T00:00:00Z"
            start, end = (
                datetime.fromisoformat(row[name])
                for name in ("ChargePeriodStart", "ChargePeriodEnd")
            )
            assert end - start == timedelta(hours=1)
            assert row["BillingAccountName"].startswith("tenant-")
            assert row["ServiceCategory"] == "AI and Machine Learning"
        usage, credit = rows[0], rows[3]
        assert (usage["ConsumedQuantity"], usage["ConsumedUnit"]) == ("15", "Tokens")
        assert (usage["SkuId"], usage["ProviderName"]) == ("scripted/cheap", "scripted")
        assert json.loads(usage["Tags"])["expert"] == "cheap"
        assert (credit["ConsumedQuantity"], credit["ChargeClass"]) == ("", "")


async def test_export_is_of_the_span_and_of_the_tenant(sqlite_url: str) -> None:
    """Neither another tenant's rows are in it nor those of another time; then only a heading."""
    async with fathom(sqlite_url, ANSWER) as gateway:
        await busy(gateway)
        now = datetime.now(UTC)
        assert await exported(gateway, "jsonl", to=(now - timedelta(hours=1)).isoformat()) == []
        assert len(await exported(gateway, "jsonl", to=(now + timedelta(hours=1)).isoformat())) == 5
        other = await open_account(gateway.gateway)
        theirs = await gateway.client.get(
            "/v1/usage/export", headers={"Authorization": f"Bearer {other.key}"}
        )
        assert theirs.text.startswith("id,posted_at,kind,tenant_id")
        assert len(theirs.text.splitlines()) == 1


@pytest.mark.parametrize("query", [{"format": "xml"}, {"from": "2026-11-21T00:00:00"}])
async def test_export_that_makes_no_sense_is_refused(
    sqlite_url: str, query: dict[str, str]
) -> None:
    """Before anything is sent."""
    async with fathom(sqlite_url, unexpected) as gateway:
        read = await gateway.client.get("/v1/usage/export", params=query)
        assert read.status_code == 422


async def several(database: Database, count: int) -> None:
    """Two tenants with so many charges each, half of them of one and the same instant."""
    for _ in range(2):
        payer, ledger = await account(database), Ledger(database)
        claim = await ledger.hold(opening(payer, 900))
        for n in range(count):
            await call(ledger, claim, answered(n + 1), op=f"t{n}", max_cost=70)
        await ledger.finish(claim, ending())
    made = await entries(database)
    await backdate(database, made[::2], Month(2026, 8).start)


@pytest.mark.parametrize("page_rows", [1, 2, 5, 14, 100])
async def test_every_row_is_in_exactly_one_page(database: Database, page_rows: int) -> None:
    """However many there are to a page, and however many share an instant."""
    await several(database, 7)
    start, end = FOREVER
    rows: list[ChargeRow] = []
    async for page in Exports(database, page_rows=page_rows).pages(start=start, end=end):
        assert 1 <= len(page) <= page_rows
        rows += page
    assert len({row.id for row in rows}) == len(rows) == 14
    assert sum(row.amount for row in rows) == 2 * sum(range(1, 8))
    assert [row.tenant_id for row in rows] == sorted(row.tenant_id for row in rows)


async def test_export_of_all_tenants_may_be_bounded_in_time(database: Database) -> None:
    """The end is excluded, the start included."""
    await several(database, 4)
    month = Month(2026, 8)
    bounds = [(month.start, month.end), (FOREVER[0], month.start), (month.end, FOREVER[1])]
    counts = [
        sum([len(page) async for page in Exports(database).pages(start=start, end=end)])
        for start, end in bounds
    ]
    assert (sum(counts), counts[1]) == (8, 0)


def test_each_form_has_a_media_type() -> None:
    """By which a browser knows what it saves."""
    assert {form.suffix for form in ExportFormat} == {"csv", "jsonl"}
