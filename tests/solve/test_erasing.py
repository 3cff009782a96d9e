"""`store: false`: the texts go when the solve ends, what it cost stays."""

import pytest
from sqlalchemy import func, select

from app.db.base import Base
from app.ids import SolveId
from app.ledger.tables import Payload, SolveInput
from app.providers.completion import ProviderRefused
from app.providers.scripted import Script, by_op, reply
from app.solve.tree import read_log
from app.store.treelog import TreeLog
from app.wiring import open_redis
from tests.backends import skip
from tests.gateway import Fathom, Json, exact, fathom

SECRET = "What nobody may keep:\n391"
QUESTION = "What may be asked only once?"
QUOTING = ProviderRefused(f"cannot parse: {QUESTION}", may_have_worked=False)
"""A vendor that repeats what it was sent."""

SCRIPT = by_op({"t1": reply("7"), "t*": reply(SECRET)})
SEARCH: Json = {"mode": "search", "search": {"concurrency": 1}} | exact("391")


async def texts(running: Fathom) -> int:
    """How many are kept."""
    async with running.gateway.database.read() as tx:
        payloads = await tx.scalar(select(func.count()).select_from(Payload))
        inputs = await tx.scalar(select(func.count()).select_from(SolveInput))
    return (payloads or 0) + (inputs or 0)


async def everything(running: Fathom) -> str:
    """Every row of every table, as text."""
    rows: list[str] = []
    async with running.gateway.database.read() as tx:
        for table in Base.metadata.sorted_tables:
            # As tuples: a row's own text leaves out the middle of what is long.
            rows += [str(tuple(row)) for row in (await tx.execute(select(table))).all()]
    return "\n".join(rows)


async def test_texts_are_kept_where_nothing_else_was_asked_for(sqlite_url: str) -> None:
    """The answer, each call's text, and the request."""
    async with fathom(sqlite_url, SCRIPT) as running:
        solve = await running.solved(SEARCH)
        assert solve["output_text"] == SECRET
        assert await texts(running) == 1 + 2 + 1


async def test_store_false_leaves_no_text_but_every_amount(sqlite_url: str) -> None:
    """The caller has the answer once; later the solve has its cost and no words."""
    async with fathom(sqlite_url, SCRIPT) as running:
        solve = await running.solved(SEARCH, store=False)
        assert solve["output_text"] == SECRET
        assert await texts(running) == 0
        kept = (await running.client.get(solve["links"]["self"])).json()
        assert (kept["output_text"], kept["output"]) == (None, [])
        assert kept["cost"] == solve["cost"]
        assert kept["usage"] == solve["usage"]


async def test_store_false_tells_every_candidate_once(sqlite_url: str) -> None:
    """The response has what it was asked for; only what is kept is without text."""
    async with fathom(sqlite_url, SCRIPT) as running:
        kept, erased = [
            await running.solved(SEARCH, include=["candidates"], store=store)
            for store in (True, False)
        ]
        assert [one["text"] for one in erased["candidates"]] == ["7", SECRET]
        assert erased["candidates"] == kept["candidates"]
        assert await texts(running) == 1 + 2 + 1


async def test_no_table_remembers_an_erased_text(sqlite_url: str) -> None:
    """Neither question nor answer, nor what evaluators said of one."""
    script = by_op({"t1": reply(f"{QUESTION} 7"), "t*": reply(SECRET)})
    async with fathom(sqlite_url, script) as running:
        await running.solved(SEARCH, input=QUESTION, store=True)
        assert QUESTION in await everything(running)
    async with fathom(f"{sqlite_url}.erased", script) as running:
        await running.solved(SEARCH, input=QUESTION, store=False)
        found = await everything(running)
        assert QUESTION not in found
        assert "nobody may keep" not in found


@pytest.mark.parametrize(
    "script", [QUOTING, by_op({"t1": QUOTING, "t*": reply("391")})], ids=["failed", "answered"]
)
async def test_no_table_remembers_what_a_vendor_quoted(
    sqlite_url: str, script: Script | ProviderRefused
) -> None:
    """The caller is told once why a call failed; what is kept says that it failed."""
    async with fathom(sqlite_url, script) as running:
        await running.solve(SEARCH, input=QUESTION, store=False)
        assert QUESTION not in await everything(running)
        assert "failed" in {call.state for call in await running.calls()}


async def test_failed_solve_says_what_failed_until_its_texts_are_erased(sqlite_url: str) -> None:
    """In the response itself always; read back, only where texts are kept."""
    async with fathom(sqlite_url, QUOTING) as running:
        told: list[Json] = []
        for store in (True, False):
            problem = (await running.solve(mode="single", store=store)).json()
            assert QUESTION in problem["detail"]
            found = await running.client.get(f"/v1/solves/{problem['solve_id']}")
            told.append(found.json()["error"])
        assert [error["kind"] for error in told] == ["ProviderRefused"] * 2
        assert [error["message"] for error in told] == [QUOTING.detail, None]


async def test_tree_log_never_holds_what_a_vendor_said(
    sqlite_url: str, redis_url: str | None
) -> None:
    """It outlives its solve by days, so it has the kind of a failure and not its text."""
    if redis_url is None:
        skip("no Redis that outlives a gateway")
    script = by_op({"t1": QUOTING, "t*": reply("391")})
    async with fathom(sqlite_url, script, redis_url=redis_url) as running:
        solve = await running.solved(SEARCH, input=QUESTION, store=False)
    async with open_redis(redis_url) as redis:
        log = await read_log(TreeLog(redis), SolveId(solve["id"]))
    assert "ProviderRefused" in str(log)
    assert QUESTION not in str(log)


async def test_tree_whose_texts_were_erased_is_gone(sqlite_url: str) -> None:
    """410, and not an empty tree; another solve's stays."""
    async with fathom(sqlite_url, SCRIPT) as running:
        erased = await running.solved(SEARCH, store=False)
        kept = await running.solved(SEARCH)
        response = await running.client.get(erased["links"]["tree"])
        assert (response.status_code, response.json()["code"]) == (410, "result-erased")
        assert len((await running.tree(kept))["nodes"]) == 2


async def test_failed_solve_is_erased_too(sqlite_url: str) -> None:
    """What was asked goes, however it ended."""
    async with fathom(sqlite_url, SCRIPT) as running:
        body = SEARCH | {"budget": {"max_calls": 1, "on_exhausted": "fail"}}
        assert (await running.solve(body, store=False)).status_code == 402
        assert await texts(running) == 0
