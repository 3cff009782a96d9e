from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Executable, insert, text, update

from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.ledger.invariants import RULES, SHOWN_MAX, check
from app.ledger.journal import Told, TrialPlace
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.tables import Budget, Call, Entry, Solve
from tests.backends import SQLITE, account
from tests.ledger.books import answered, call, ending, intent, nano, opening


async def busy(database: Database) -> Claim:
    """Books with an ended solve and a live one that has spent, and has a call in flight."""
    ledger = Ledger(database)
    payer = await account(database)
    ended = await ledger.hold(opening(payer, 100))
    await call(ledger, ended, answered(30), max_cost=70)
    await ledger.finish(ended, ending())
    live = await ledger.hold(opening(payer, 100))
    first = intent(live, "t1", max_cost=20, trial=TrialPlace(ask=1, parent=0, asked_seq=1))
    await ledger.intend(live, first, grow=nano(0))
    await ledger.settle_call(live, first, answered(25))
    second = intent(live, "t2", max_cost=40, trial=TrialPlace(ask=2, parent=1, asked_seq=3))
    await ledger.intend(live, second, grow=nano(0), told=[Told(first.call_id, 2, score=0.5)])
    return live


async def broken(database: Database) -> list[str]:
    """The names of the rules that do not hold."""
    return [finding.name for finding in await check(database) if not finding.holds]


async def tamper(database: Database, *statements: Executable) -> None:
    """Change books behind the ledger's back."""

    async def work(tx: WriteTx) -> None:
        for statement in statements:
            await tx.execute(statement)

    await database.write(work)


def entry(call_id: str, kind: str, payer: str, amount: int) -> Executable:
    """An entry with nothing on the other side."""
    return insert(Entry).values(
        id=f"ent-{kind}-{payer}",
        call_id=call_id,
        solve_id="",
        kind=kind,
        account=payer,
        amount=amount,
        price_version="",
        posted_at=Clock(),
    )


async def test_busy_books_keep_every_rule(database: Database) -> None:
    """And empty ones, trivially."""
    assert await broken(database) == []
    await busy(database)
    findings = await check(database)
    assert [finding.name for finding in findings if not finding.holds] == []
    assert [finding.name for finding in findings] == list(RULES)


# It holds for the one connection that writes to SQLite.
UNCHECKED = text("PRAGMA ignore_check_constraints = ON")

# Each is done to books that hold, to the live solve's rows; the names are beginnings of rules.
TAMPERINGS: Sequence[tuple[str, Sequence[Any], Sequence[str]]] = [
    (
        "a budget over its limit",
        [update(Budget).values(lim=1)],
        ["what is posted and reserved fits"],
    ),
    (
        "a hold that nobody frees",
        [update(Budget).values(reserved=Budget.reserved + 1)],
        ["a budget has what"],
    ),
    (
        "a charge that never reached the budget",
        [update(Budget).values(posted=Budget.posted - 1)],
        ["a budget has what"],
    ),
    (
        "a budget that is gone",
        [update(Solve).values(budgets=["rul_1:gone"])],
        ["a budget has what"],
    ),
    (
        "a call that costs more than its charge",
        [update(Call).where(Call.op == "t1").values(cost=Call.cost + 1)],
        ["a call costs what", "a solve posted what"],
    ),
    (
        "a solve that posted more than its calls cost",
        [update(Solve).where(Solve.state == "in_progress").values(posted=Solve.posted + 1)],
        ["a solve posted what", "a tenant was charged"],
    ),
    (
        "a draw that was never freed",
        [update(Solve).where(Solve.state == "in_progress").values(inflight=Solve.inflight + 1)],
        ["what is in flight is what"],
    ),
    (
        "an outcome that freed no draw",
        [update(Call).where(Call.op == "t2").values(state="failed")],
        ["what is in flight is what"],
    ),
    (
        "an orphan without its worst case in suspense",
        [update(Call).where(Call.op == "t2").values(state="orphan")],
        ["what waits in suspense", "what is in flight is what"],
    ),
    (
        "a late cost that nobody bears",
        [update(Call).where(Call.op == "t1").values(late_cost=5)],
        ["what a call cost late"],
    ),
    (
        "a late cost of a call that the tenant pays",
        [update(Call).where(Call.op == "t1").values(late_cost=0)],
        ["what a call cost late"],
    ),
    (
        "a solve beyond its hold",
        [update(Solve).where(Solve.state == "in_progress").values(hold=1)],
        ["a budget has what", "a solve stays within"],
    ),
    (
        "a solve beyond its cap",
        [update(Solve).where(Solve.state == "in_progress").values(cap=1)],
        ["a solve stays within"],
    ),
    (
        "an end that freed nothing",
        [update(Solve).where(Solve.state == "in_progress").values(completed_at=Clock())],
        ["a budget has what", "an ended solve has nothing", "a solve has ended when"],
    ),
    (
        "an end that nobody dated",
        [update(Solve).where(Solve.completed_at.is_not(None)).values(completed_at=None)],
        ["a budget has what", "a solve has ended when"],
    ),
    (
        "an event number used twice",
        [update(Call).where(Call.op == "t2").values(told_seq=3)],
        ["a search's events have"],
    ),
    (
        "a trial asked for under two numbers of another",
        [update(Call).where(Call.op == "t2").values(asked_seq=1)],
        ["a search's events have"],
    ),
    (
        "an answer given twice",
        [
            text("DROP INDEX uq_call_one_ok"),
            update(Call).where(Call.op == "t2").values(op="t1", attempt=2, state="ok"),
        ],
        ["what is in flight is what", "an op is answered"],
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
    """Whatever the database itself would have refused, and only the rules that are broken."""
    await busy(database)
    await tamper(database, UNCHECKED)
    await tamper(database, *statements)
    found = await broken(database)
    assert len(found) == len(names), found
    assert all(one.startswith(name) for one, name in zip(found, names, strict=True)), found


async def test_entry_with_nothing_on_the_other_side_is_found(database: Database) -> None:
    """In its call and kind, and in the sum of all."""
    live = await busy(database)
    await tamper(database, entry(f"{live.solve_id}:t2:1", "suspense", "suspense", 5))
    assert await broken(database) == [
        "all entries sum to zero",
        "the entries of a call's kind sum to zero",
    ]


async def test_call_charged_twice_or_to_another_is_found(database: Database) -> None:
    """Though its entries sum to zero."""
    live = await busy(database)
    call_id = f"{live.solve_id}:t1:1"
    await tamper(
        database,
        entry(call_id, "charge", "tenant:another", 25),
        entry(call_id, "charge", "provider:another", -25),
    )
    assert await broken(database) == [
        "no call is charged twice",
        "a charge is its own tenant's",
        "a call costs what was charged for it",
        "a tenant was charged what its solves posted",
    ]


async def test_cost_that_was_booked_late_but_never_came_is_found(database: Database) -> None:
    """And suspense that was taken back without ever having been there."""
    live = await busy(database)
    call_id = f"{live.solve_id}:t1:1"
    await tamper(
        database,
        entry(call_id, "reversal", "suspense", -5),
        entry(call_id, "reversal", "provider:scripted", 5),
        entry(call_id, "late", "platform_loss", 5),
        entry(call_id, "late", "provider:scripted", -5),
    )
    assert await broken(database) == [
        "what waits in suspense is what calls may yet cost",
        "what a call cost late is the operator's loss",
    ]


async def test_suspense_of_a_call_whose_cost_is_known_is_found(database: Database) -> None:
    """It would be counted twice."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 100))
    made = intent(claim, max_cost=50)
    await ledger.intend(claim, made, grow=nano(0))
    await ledger.finish(claim, ending("cancelled"))
    await tamper(database, update(Call).values(late_cost=0))
    assert await broken(database) == ["what waits in suspense is what calls may yet cost"]


async def test_finding_names_a_few_of_many_offenders(database: Database) -> None:
    """Enough to start looking, and it says that there are more."""
    ledger = Ledger(database)
    payer = await account(database)
    for _ in range(SHOWN_MAX + 2):
        await ledger.hold(opening(payer, 1))
    await tamper(database, update(Solve).values(posted=1))
    finding = next(f for f in await check(database) if f.name.startswith("a solve posted"))
    assert finding.detail.count("slv_") == SHOWN_MAX
    assert finding.detail.endswith(", ...")
