"""What must hold of batches, and that each rule finds what breaks it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Executable, delete, select, update

from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.ids import batch_id
from app.ledger.batch_lines import BatchLines, LineEnd
from app.ledger.batch_tables import BatchLineRow, BatchRow
from app.ledger.batches import BatchBook, NewBatch, NewLine
from app.ledger.idempotency import IdempotencyKey
from app.ledger.invariants import check
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.tables import Budget, BudgetRule
from tests.backends import SQLITE, account
from tests.ledger.books import answered, call, ending, nano, opening

REPLICA = "replica-1"


async def busy(database: Database) -> None:
    """A batch with a line that ended well, one that runs, one that ended without a solve."""
    ledger, book = Ledger(database), BatchBook(database)
    lines = BatchLines(database, replica=REPLICA, lease_s=60.0)
    await Leases(database, replica=REPLICA).beat()
    payer = await account(database)
    made = batch_id()
    await book.create(
        NewBatch(
            id=made,
            tenant_id=payer.tenant_id,
            key_id=payer.key_id,
            idempotency=IdempotencyKey("monday", "0" * 64),
            cap=nano(500),
            window="24h",
            window_s=86_400.0,
            lines=[NewLine(f"q{number}", "{}") for number in range(4)],
        )
    )
    first, second, third = await lines.take(made, most=3)
    payer = replace(payer, batch_id=made)
    ended = await ledger.hold(opening(payer, 100, solve=first.solve_id))
    await call(ledger, ended, answered(30), max_cost=70)
    await ledger.finish(ended, ending())
    running = await ledger.hold(opening(payer, 100, solve=second.solve_id))
    await call(ledger, running, answered(20), max_cost=70)
    await lines.end(
        [LineEnd(first, is_well=True), LineEnd(third, is_well=False, error_kind="BudgetExceeded")]
    )


async def broken(database: Database) -> list[str]:
    """The names of the rules that do not hold."""
    return [finding.name for finding in await check(database) if not finding.holds]


async def test_batch_that_runs_keeps_every_rule(database: Database) -> None:
    """On both databases."""
    await busy(database)
    assert await broken(database) == []


FIRST = BatchLineRow.number == 1
SECOND = BatchLineRow.number == 2
OF_BATCH = Budget.rule_id.in_(select(BudgetRule.id).where(BudgetRule.scope == "batch"))

BUDGET, ENDS, SOLVES = "a batch's budget is", "a batch has all", "a line ends after"
DRAWS = "a solve draws on"

TAMPERINGS: Sequence[tuple[str, Sequence[Executable], Sequence[str]]] = [
    ("a cap that was raised", [update(Budget).where(OF_BATCH).values(lim=501)], [BUDGET]),
    (
        "a solve that is no line's",
        [update(BatchLineRow).where(FIRST).values(solve_id="slv_of_nobody")],
        [DRAWS, BUDGET, SOLVES],
    ),
    ("a line that is gone", [delete(BatchLineRow).where(BatchLineRow.number == 4)], [ENDS]),
    (
        "an end with lines open",
        [update(BatchRow).values(state="completed", ended_at=Clock())],
        [ENDS],
    ),
    ("an end that nobody dated", [update(BatchRow).values(state="completed")], [ENDS]),
    (
        "a line that ended before its solve",
        [update(BatchLineRow).where(SECOND).values(state="failed")],
        [SOLVES],
    ),
    (
        "a line that ended well without a solve",
        [update(BatchLineRow).where(BatchLineRow.number == 3).values(state="ok")],
        [SOLVES],
    ),
]


@pytest.mark.parametrize("database_url", [SQLITE], indirect=True)
@pytest.mark.parametrize(
    ("statements", "names"),
    [(statements, names) for _, statements, names in TAMPERINGS],
    ids=[name for name, _, _ in TAMPERINGS],
)
async def test_rule_finds_what_breaks_it(
    database: Database, statements: Sequence[Executable], names: Sequence[str]
) -> None:
    """And only the rules that are broken."""
    await busy(database)

    async def work(tx: WriteTx) -> None:
        for statement in statements:
            await tx.execute(statement)

    await database.write(work)
    found = await broken(database)
    assert len(found) == len(names), found
    assert all(one.startswith(name) for one, name in zip(found, names, strict=True)), found
