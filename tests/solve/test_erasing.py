"""`store: false`: the texts go when the solve ends, what it cost stays."""

from sqlalchemy import func, select

from app.db.base import Base
from app.ledger.tables import Payload, SolveInput
from app.providers.scripted import by_op, reply
from tests.gateway import Fathom, Json, exact, fathom

SECRET = "What nobody may keep:\n391"
QUESTION = "What may be asked only once?"
SCRIPT = by_op({"t1": reply("7"), "t*": reply(SECRET)})
SEARCH: Json = {"mode": "search", "search": {"concurrency": 1}} | exact("391")


async def _texts(running: Fathom) -> int:
    async with running.gateway.database.read() as tx:
        payloads = await tx.scalar(select(func.count()).select_from(Payload))
        inputs = await tx.scalar(select(func.count()).select_from(SolveInput))
    return (payloads or 0) + (inputs or 0)


async def _everything(running: Fathom) -> str:
    """Every row of every table, as text."""
    rows: list[str] = []
    async with running.gateway.database.read() as tx:
        for table in Base.metadata.sorted_tables:
            rows += [str(row) for row in (await tx.execute(select(table))).all()]
    return "\n".join(rows)


async def test_texts_are_kept_where_nothing_else_was_asked_for(sqlite_url: str) -> None:
    """The answer, each call's text, and the request."""
    async with fathom(sqlite_url, SCRIPT) as running:
        solve = await running.solved(SEARCH)
        assert solve["output_text"] == SECRET
        assert await _texts(running) == 1 + 2 + 1


async def test_store_false_leaves_no_text_but_every_amount(sqlite_url: str) -> None:
    """The caller has the answer once; later the solve has its cost and no words."""
    async with fathom(sqlite_url, SCRIPT) as running:
        solve = await running.solved(SEARCH, store=False)
        assert solve["output_text"] == SECRET
        assert await _texts(running) == 0
        kept = (await running.client.get(solve["links"]["self"])).json()
        assert (kept["output_text"], kept["output"]) == (None, [])
        assert kept["cost"] == solve["cost"]
        assert kept["usage"] == solve["usage"]


async def test_no_table_remembers_an_erased_text(sqlite_url: str) -> None:
    """Neither question nor answer, nor what evaluators said of one."""
    script = by_op({"t1": reply(f"{QUESTION} 7"), "t*": reply(SECRET)})
    async with fathom(sqlite_url, script) as running:
        await running.solved(SEARCH, input=QUESTION, store=True)
        assert QUESTION in await _everything(running)
    async with fathom(f"{sqlite_url}.erased", script) as running:
        await running.solved(SEARCH, input=QUESTION, store=False)
        everything = await _everything(running)
        assert QUESTION not in everything
        assert "nobody may keep" not in everything


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
        assert await _texts(running) == 0
