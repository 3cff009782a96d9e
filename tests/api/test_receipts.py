"""What a receipt says of each call, and that its lines are what was charged."""

from dataclasses import replace
from decimal import Decimal

from sqlalchemy import delete

from app.db.engine import Database, WriteTx
from app.ledger.tables import Payload, SolveInput
from app.money import to_usd
from app.providers.completion import ProviderUnavailable
from app.providers.scripted import Script, in_turn, reply
from tests.gateway import Fathom, Json, cost, exact, fathom, open_account, unexpected

SEARCH = {"mode": "search", "search": {"max_nodes": 6, "concurrency": 1}} | exact("391")


def guesses() -> Script:
    """Two wrong answers and a failure before the right one."""
    return in_turn(
        reply("1", input_tokens=7, output_tokens=3),
        ProviderUnavailable("overloaded", may_have_worked=True),
        reply("2", input_tokens=11, output_tokens=1),
        reply("391", input_tokens=13, output_tokens=9),
    )


async def receipt(gateway: Fathom, solve_id: str) -> Json:
    """As the tenant reads it."""
    read = await gateway.client.get(f"/v1/solves/{solve_id}/receipt")
    document: Json = read.raise_for_status().json()
    return document


async def erase_everything(database: Database) -> None:
    """As retention does: texts and what was asked."""

    async def work(tx: WriteTx) -> None:
        await tx.execute(delete(Payload))
        await tx.execute(delete(SolveInput))

    await database.write(work)


async def test_lines_add_up_to_what_the_solve_cost(database_url: str) -> None:
    """To the nano-dollar, each with its tokens at its price; a failed call is a line too."""
    async with fathom(database_url, guesses()) as gateway:
        solved = await gateway.solved(SEARCH)
        document = await receipt(gateway, solved["id"])
        lines = document["lines"]
        assert document["total_usd"] == solved["cost"]["total_usd"] == to_usd(cost(31, 13))
        assert sum(Decimal(line["cost_usd"]) for line in lines) == Decimal(document["total_usd"])
        assert sorted(line["status"] for line in lines) == ["failed", "ok", "ok", "ok"]
        for line in lines:
            tokens = {unit["unit"]: unit["tokens"] for unit in line["units"]}
            rates = {unit["unit"]: unit["usd_per_million"] for unit in line["units"]}
            assert rates == {"input": "1.00", "output": "10.00"}
            if line["status"] == "ok":
                assert line["cost_usd"] == to_usd(cost(tokens["input"], tokens["output"]))
                assert line["returned_model"] == "scripted"
                assert line["posted_at"] is not None
            assert line["price_version"].startswith("prc_")
            assert line["expert"].partition("@")[0] in {"cheap", "strong"}
        assert document["account"] == f"tenant:{gateway.account.tenant_id}"


async def test_call_that_failed_is_a_line_that_costs_nothing(sqlite_url: str) -> None:
    """What its provider may yet charge is not the tenant's."""
    async with fathom(sqlite_url, guesses()) as gateway:
        solved = await gateway.solved(SEARCH)
        lines = (await receipt(gateway, solved["id"]))["lines"]
        (failed,) = [line for line in lines if line["status"] == "failed"]
        assert (failed["cost_usd"], failed["posted_at"]) == ("0.00", None)
        assert [unit["tokens"] for unit in failed["units"]] == [None, None]


async def test_answer_whose_provider_counted_nothing_is_flagged(sqlite_url: str) -> None:
    """It is charged by our own count."""
    answer = replace(reply("391"), usage=None)
    async with fathom(sqlite_url, answer) as gateway:
        solved = await gateway.solved({"mode": "single"})
        document = await receipt(gateway, solved["id"])
        (line,) = document["lines"]
        assert line["estimated"]
        assert line["cost_usd"] == document["total_usd"] == solved["cost"]["total_usd"]


async def test_receipt_outlives_the_texts(database_url: str) -> None:
    """Word for word."""
    async with fathom(database_url, guesses()) as gateway:
        solved = await gateway.solved(SEARCH)
        before = await receipt(gateway, solved["id"])
        await erase_everything(gateway.gateway.database)
        assert await receipt(gateway, solved["id"]) == before


async def test_receipt_of_another_tenant_is_not_there(sqlite_url: str) -> None:
    """Nor one of nobody's, nor one whose id no database takes."""
    async with fathom(sqlite_url, reply("391")) as gateway:
        solved = await gateway.solved({"mode": "single"})
        other = await open_account(gateway.gateway)
        theirs = await gateway.client.get(
            solved["links"]["receipt"], headers={"Authorization": f"Bearer {other.key}"}
        )
        assert theirs.status_code == 404
        assert theirs.json()["code"] == "not-found"


async def test_receipt_of_nobodys_solve_is_not_there(sqlite_url: str) -> None:
    """Whatever its id looks like."""
    async with fathom(sqlite_url, unexpected) as gateway:
        for name in ("slv_1", "%00", "slv_%00"):
            read = await gateway.client.get(f"/v1/solves/{name}/receipt")
            assert read.status_code == 404, name
