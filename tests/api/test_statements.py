"""A tenant's own month, as it reads it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.ids import SolveId
from app.ledger.corrections import Corrections, Refund, Why
from app.ledger.months import Month
from app.ledger.statements import Statements
from app.money import NanoUSD, to_usd
from app.providers.scripted import reply
from tests.gateway import Fathom, Json, cost, fathom, open_account, unexpected

ANSWER = reply("391", input_tokens=10, output_tokens=5)
LONG_AGO = Month(2026, 3)


async def statement(gateway: Fathom, month: Month) -> Json:
    """As the tenant reads it."""
    read = await gateway.client.get(f"/v1/statements/{month}")
    document: Json = read.raise_for_status().json()
    return document


async def test_month_is_told_with_charges_and_credits_apart(database_url: str) -> None:
    """The charges are those of the receipts; the total is what is left of them."""
    async with fathom(database_url, ANSWER) as gateway:
        solves = [await gateway.solved({"mode": "single"}) for _ in range(3)]
        corrections = Corrections(gateway.gateway.database)
        first = SolveId(solves[0]["id"])
        await corrections.refund(Refund(first), Why("ticket-1", "no answer"))
        tenant = gateway.account.tenant_id
        await corrections.adjust(tenant, NanoUSD(-7), Why("contract", "minimum"))
        told = await statement(gateway, Month.of(datetime.now(UTC)))
        assert (told["status"], told["closed_at"]) == ("open", None)
        assert told["charges_usd"] == to_usd(cost(30, 15))
        assert told["refunds_usd"] == to_usd(cost(10, 5))
        assert told["adjustments_usd"] == "-0.000000007"
        assert told["total_usd"] == to_usd(NanoUSD(cost(20, 10) + 7))
        assert sum(Decimal(line["cost_usd"]) for line in told["lines"]) == Decimal(
            told["charges_usd"]
        )
        assert [line["calls"] for line in told["lines"]] == [3]
        assert [one["reason"] for one in told["credits"]] == ["no answer", "minimum"]
        receipt = (await gateway.client.get(solves[0]["links"]["receipt"])).json()
        assert receipt["credited_usd"] == receipt["total_usd"] == to_usd(cost(10, 5))
        assert [one["reference"] for one in receipt["credits"]] == ["ticket-1"]


async def test_closed_month_says_so(sqlite_url: str) -> None:
    """And each tenant reads its own."""
    async with fathom(sqlite_url, unexpected) as gateway:
        tenant = gateway.account.tenant_id
        await Statements(gateway.gateway.database).close(tenant, LONG_AGO)
        told = await statement(gateway, LONG_AGO)
        assert (told["status"], told["total_usd"]) == ("closed", "0.00")
        assert told["start"] == "2026-03-01T00:00:00+00:00"
        other = await open_account(gateway.gateway)
        theirs = await gateway.client.get(
            f"/v1/statements/{LONG_AGO}", headers={"Authorization": f"Bearer {other.key}"}
        )
        assert theirs.json()["status"] == "open"


@pytest.mark.parametrize("month", ["2026-13", "now", "1999-12"])
async def test_what_is_no_month_is_refused(sqlite_url: str, month: str) -> None:
    """As any other parameter."""
    async with fathom(sqlite_url, unexpected) as gateway:
        assert (await gateway.client.get(f"/v1/statements/{month}")).status_code == 422
