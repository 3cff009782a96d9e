"""Lines that a budget refuses until its next period wait for that, if it begins in time."""

import asyncio

import pytest
from sqlalchemy import func, select, update

from app.accounts import Allowance
from app.db.clock import Ago
from app.db.engine import WriteTx
from app.ids import BatchId
from app.ledger.batch_lines import BatchLines
from app.ledger.batch_tables import BatchLineRow
from app.ledger.batches import CANCELLED_KIND
from app.ledger.budgets import Account
from app.ledger.periods import Period
from app.ledger.tables import Budget
from app.money import from_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, reply
from tests.dispatch.batching import ENDED_S, line, lines, output, over, read, sent
from tests.gateway import Fathom, Json, exact, fathom
from tests.ledger.books import end_earlier_period, open_earlier_period

DEAR = reply("391", input_tokens=0, output_tokens=1_000)
"""Costs $0.01."""

CHEAP = reply("391", input_tokens=0, output_tokens=100)
LEFT_LITTLE = Allowance(from_usd("0.02"), Period.DAY, "UTC")
LADDER = Allowance(from_usd("1"), Period.DAY, "UTC", single_from=50)
SEARCH: Json = {"mode": "search", "search": {"max_nodes": 1, "concurrency": 1}} | exact("391")


def answer(request: CompletionRequest) -> Answer:
    """Lines are cheap, and what comes before them is not."""
    return CHEAP if request.problem.startswith("What is q") else DEAR


async def spend(running: Fathom) -> None:
    """Use up most of a period that ends in two days."""
    account = Account(running.account.tenant_id, running.account.key_id)
    await open_earlier_period(running.gateway.database, account)
    await running.solved(mode="single")


async def put_off(running: Fathom) -> int:
    """How many lines wait for the end of that period."""
    query = (
        select(func.count())
        .select_from(BatchLineRow)
        .join(Budget, Budget.period_end == BatchLineRow.not_before)
        .where(BatchLineRow.state == "waiting", Budget.id.endswith(":earlier"))
        .group_by(Budget.id)
    )
    async with running.gateway.database.read() as tx:
        return int((await tx.scalars(query)).first() or 0)


async def until_put_off(running: Fathom, count: int) -> None:
    """Wait for that many."""
    async with asyncio.timeout(ENDED_S):
        while await put_off(running) < count:  # noqa: ASYNC110 - for a database
            await asyncio.sleep(0.05)


async def begin_a_period(running: Fathom) -> None:
    """Let two days pass."""
    await end_earlier_period(running.gateway.database)

    async def work(tx: WriteTx) -> None:
        waiting = update(BatchLineRow).where(BatchLineRow.not_before.is_not(None))
        await tx.execute(waiting.values(not_before=Ago(1.0)))

    await running.gateway.database.write(work)


@pytest.mark.parametrize(
    ("allowance", "body"),
    [
        pytest.param(LEFT_LITTLE, {"mode": "single"}, id="budget"),
        pytest.param(LADDER, SEARCH, id="ladder"),
    ],
)
async def test_lines_wait_for_the_next_period(
    database_url: str, allowance: Allowance, body: Json
) -> None:
    """None is refused meanwhile; then they run."""
    async with fathom(database_url, answer, allowance=allowance) as running:
        await spend(running)
        asked = [line("q0", **body), line("q1", **body)]
        batch = await sent(running.client, asked, completion_window="168h")
        await until_put_off(running, 2)
        found = await read(running.client, batch)
        assert found["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
        await begin_a_period(running)
        ended = await over(running.client, batch)
        assert ended["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


@pytest.mark.parametrize(
    ("allowance", "window"),
    [
        pytest.param(LEFT_LITTLE, "24h", id="the next period begins too late"),
        pytest.param(
            Allowance(from_usd("0.02"), Period.TOTAL), "168h", id="there is no next period"
        ),
    ],
)
async def test_lines_that_will_not_fit_in_time_are_refused_at_once(
    database_url: str, allowance: Allowance, window: str
) -> None:
    """By the name of the budget."""
    async with fathom(database_url, DEAR, allowance=allowance) as running:
        if allowance.period is Period.TOTAL:
            await running.solved(mode="single")
        else:
            await spend(running)
        batch = await sent(running.client, lines(2), completion_window=window)
        ended = await over(running.client, batch)
        assert ended["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
        outputs = await output(running.client, batch)
        assert {one["error"]["code"] for one in outputs} == {"budget-exhausted"}


async def test_lines_that_wait_end_with_their_batch(sqlite_url: str) -> None:
    """Cancelled, it is over at once."""
    async with fathom(sqlite_url, DEAR, allowance=LEFT_LITTLE) as running:
        await spend(running)
        batch = await sent(running.client, lines(2), completion_window="168h")
        await until_put_off(running, 2)
        await running.client.post(f"{batch['links']['self']}/cancel")
        ended = await over(running.client, batch)
        assert ended["status"] == "cancelled"


async def test_line_put_off_as_its_batch_ends_is_taken_and_ends(sqlite_url: str) -> None:
    """It waits for nothing any more, so nothing may wait for it."""
    async with fathom(sqlite_url, DEAR, allowance=LEFT_LITTLE, batch_max=0) as running:
        batch = await sent(running.client, lines(1))
        await running.client.post(f"{batch['links']['self']}/cancel")

        async def work(tx: WriteTx) -> None:
            await tx.execute(update(BatchLineRow).values(state="waiting", not_before=Ago(-9e4)))

        await running.gateway.database.write(work)
        lines_of = BatchLines(running.gateway.database, replica="another", lease_s=1.0)
        (taken,) = await lines_of.take(BatchId(batch["id"]), most=1)
        assert await lines_of.over(taken.batch_id) == CANCELLED_KIND
