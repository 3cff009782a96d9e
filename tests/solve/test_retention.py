"""Texts are kept for as long as the policy says, and no longer; what they cost is kept for good."""

import asyncio

import pytest
from sqlalchemy import select, update

from app.db.clock import Ago
from app.db.engine import Database, WriteTx
from app.ids import solve_id
from app.ledger.endings import Ending
from app.ledger.ledger import Ledger
from app.ledger.tables import Solve
from app.providers.completion import ProviderRefused
from app.providers.scripted import Script, by_op, reply
from app.solve.erasure import AT_ONCE_MAX, Erasure, erase, erase_tenant
from app.solve.report import document_without_texts, solved_from, without_texts
from app.telemetry.readiness import Drain
from tests.backends import account, opened
from tests.gateway import Fathom, Json, exact, fathom, open_account, scripted_config, served
from tests.ledger.books import assert_books_hold, ending, opening
from tests.solve.test_erasing import everything, texts

QUESTION = "What may be asked only once?"
QUOTING = ProviderRefused(f"cannot parse: {QUESTION}", may_have_worked=False)
SEARCH: Json = {"mode": "search", "search": {"concurrency": 1}} | exact("391")
SCRIPT = by_op({"t1": QUOTING, "t2": reply(f"{QUESTION} 7"), "t*": reply("391")})
DAY_S = 86_400


async def kept_days(running: Fathom) -> float | None:
    """How long after its end the texts of the one solve are kept."""
    async with running.gateway.database.read() as tx:
        ended, due = (await tx.execute(select(Solve.completed_at, Solve.erase_at))).one()
    if ended is None or due is None:
        return None
    return round((due.timestamp() - ended.timestamp()) / DAY_S, 3)


async def pass_days(database: Database) -> None:
    """Let what is to be erased some day be due."""

    async def work(tx: WriteTx) -> None:
        due = update(Solve).where(Solve.erase_at.is_not(None))
        await tx.execute(due.values(erase_at=Ago(1.0)))

    await database.write(work)


async def sweep(database: Database) -> bool:
    """Erase once what is due."""
    return await Erasure(database=database, drain=Drain()).erase_due()


@pytest.mark.parametrize(
    ("policy", "store", "days"),
    [
        ({}, True, 7),
        ({"texts_days": 0}, True, 0),
        ({"texts_days": 400}, True, 400),
        ({}, False, None),
    ],
)
async def test_a_policy_says_how_long_texts_are_kept(
    database_url: str, policy: Json, *, store: bool, days: float | None
) -> None:
    """A week where it says nothing; a request that says not to store has nothing to erase."""
    async with fathom(database_url, reply("391"), config=scripted_config(**policy)) as running:
        await running.solved(mode="single", store=store)
        assert await kept_days(running) == days


async def test_nothing_is_erased_before_its_time_and_all_of_it_after(database_url: str) -> None:
    """Question, answers and what a vendor quoted go; costs, and the books, stay."""
    async with fathom(database_url, SCRIPT) as running:
        solve = await running.solved(SEARCH, input=QUESTION)
        database = running.gateway.database
        await sweep(database)
        assert await texts(running) > 0
        await pass_days(database)
        assert not await sweep(database)
        assert await texts(running) == 0
        assert QUESTION not in await everything(running)
        kept = (await running.client.get(solve["links"]["self"])).json()
        assert kept["output_text"] is None
        assert kept["cost"] == solve["cost"]
        assert kept["usage"] == solve["usage"]
        assert (await running.client.get(solve["links"]["tree"])).status_code == 410
        assert await kept_days(running) is None


async def test_a_key_whose_texts_were_erased_starts_nothing(database_url: str) -> None:
    """410 `result-erased`, and no second bill."""
    async with fathom(database_url, reply("391")) as running:
        running.client.headers["Idempotency-Key"] = "order-1"
        await running.solved(mode="single")
        await pass_days(running.gateway.database)
        await sweep(running.gateway.database)
        again = await running.solve(mode="single")
        assert (again.status_code, again.json()["code"]) == (410, "result-erased")
        assert len(await running.solves()) == 1


async def test_a_solve_that_runs_keeps_what_it_needs(database: Database) -> None:
    """However old it is, and whoever asks."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 100))
    await sweep(database)
    assert await erase(database, [claim.solve_id, solve_id()]) == 0
    assert await erase_tenant(database, claim.account.tenant_id) == 0
    async with database.read() as tx:
        (left,) = (await tx.execute(select(Solve.completed_at))).one()
    assert left is None
    await ledger.finish(claim, ending())
    assert await erase_tenant(database, claim.account.tenant_id) == 1
    await assert_books_hold(database)


async def test_replicas_that_erase_at_once_erase_a_bounded_number_each(database_url: str) -> None:
    """Until nothing is left."""
    async with opened(database_url) as one, opened(database_url) as other:
        ledger, payer = Ledger(one), await account(one)
        solves = AT_ONCE_MAX + 10
        claims = await asyncio.gather(*(ledger.hold(opening(payer, 1)) for _ in range(solves)))
        usual = ending()
        for claim in claims:
            due = Ending(usual.state, usual.route, usual.result, usual.texts, keep_s=0.0)
            await ledger.finish(claim, due)
        assert await sweep(one)
        await asyncio.gather(*(sweep(each) for each in [one, other] * 3))
        assert await erase_tenant(one, payer.tenant_id) == 0
        await assert_books_hold(one)


async def test_a_tenants_texts_are_erased_and_nobody_elses(sqlite_url: str) -> None:
    """At the operator's word."""
    async with fathom(sqlite_url, reply("391")) as running:
        other = await open_account(running.gateway)
        async with served(running.gateway, other.key) as (_, client):
            kept = (await client.post("/v1/solve", json={"input": "a"})).json()
            erased = [await running.solved() for _ in range(3)]
            assert await erase_tenant(running.gateway.database, running.account.tenant_id) == 3
            assert await erase_tenant(running.gateway.database, running.account.tenant_id) == 0
            for solve in erased:
                found = (await running.client.get(solve["links"]["self"])).json()
                assert found["output_text"] is None
            found = (await client.get(kept["links"]["self"])).json()
            assert found["output_text"] == "391"


@pytest.mark.parametrize("script", [SCRIPT, QUOTING], ids=["answered", "failed"])
async def test_a_stored_result_loses_what_a_fresh_one_would(
    sqlite_url: str, script: Script | ProviderRefused
) -> None:
    """One rule, whichever way the texts go."""
    async with fathom(sqlite_url, script) as running:
        await running.solve(SEARCH, input=QUESTION)
        async with running.gateway.database.read() as tx:
            result = await tx.scalar(select(Solve.result))
        assert result is not None
        assert QUESTION in str(result)
        scrubbed = solved_from(document_without_texts(result))
        assert scrubbed == without_texts(solved_from(result))
