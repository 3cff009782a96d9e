from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Executable, func, insert, select, text, update

from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.ledger.alert_tables import Alert
from app.ledger.inheritance import Inheritance
from app.ledger.invariants import RULES, SHOWN_MAX, check
from app.ledger.journal import Told, TrialPlace
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.postings import GAIN
from app.ledger.tables import (
    Budget,
    BudgetRule,
    Call,
    Entry,
    InheritedNode,
    LimitRule,
    LimitWindow,
    Solve,
)
from app.notices.tables import OutboxRow
from tests.backends import SQLITE, account
from tests.ledger.books import answered, call, ending, intent, nano, opening


async def busy(database: Database) -> Claim:
    """Books with an ended solve, one that has resumed it, and a live one with a call in flight."""
    ledger = Ledger(database)
    payer = await account(database)
    ended = await ledger.hold(opening(payer, 100))
    first = await call(ledger, ended, answered(30), max_cost=70)
    await ledger.finish(ended, ending())
    inheritance = Inheritance([first.call_id], {}, resumed_from=ended.solve_id)
    heir = await ledger.hold(replace(opening(payer, 100), inheritance=inheritance))
    await call(ledger, heir, answered(10), op="t9", max_cost=40)
    await ledger.finish(heir, ending())
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
        "a solve on the budget of another",
        [update(BudgetRule).where(BudgetRule.scope == "key").values(scope_id="key1")],
        ["a solve draws on"],
    ),
    (
        "a window that counts what nobody used",
        [
            insert(LimitRule).values(
                id="lim_1", tenant_id="t", scope="tenant", scope_id="t", unit="tokens", most=9
            ),
            insert(LimitWindow).values(
                id="lim_1:now",
                rule_id="lim_1",
                window_start=Clock(),
                window_end=Clock(),
                lim=9,
                target=9,
                used=10,
                held=0,
            ),
        ],
        ["what is counted fits", "a limit counts what"],
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
        "an end that is told and never was",
        [
            insert(OutboxRow).values(
                id="msg_1",
                tenant_id="tnt_1",
                channel="webhook",
                destination="",
                trusted=False,
                event="solve.completed",
                body="",
                state="pending",
                attempts=0,
                created_at=Clock(),
                due_at=Clock(),
            )
        ],
        ["an end is told of solves"],
    ),
    (
        "an alert of what nobody spent",
        [
            insert(Alert).values(
                notice_id="msg_1",
                budget_id=select(func.min(Budget.id)).scalar_subquery(),
                at_percent=80,
                channel="slack",
                destination="",
                spent=79,
                lim=100,
                told_at=Clock(),
            ),
        ],
        ["an alert tells of a threshold"],
    ),
    (
        "an answer given twice",
        [
            text("DROP INDEX uq_call_one_ok"),
            update(Call).where(Call.op == "t2").values(op="t1", attempt=2, state="ok"),
        ],
        ["what is in flight is what", "an op is answered"],
    ),
    (
        "a node of a call that failed",
        [update(Call).where(Call.op == "t1").values(state="failed")],
        ["a node is an answered"],
    ),
    (
        "a node inherited from nobody",
        [update(Solve).values(resumed_from=None)],
        ["an inherited node is"],
    ),
    (
        "a node inherited from a solve that was not resumed",
        [
            update(InheritedNode).values(
                call_id=select(Call.id).where(Call.op == "t1").scalar_subquery()
            )
        ],
        ["an inherited node is"],
    ),
    (
        "a node inherited from another tenant",
        [
            text("PRAGMA foreign_keys = OFF"),
            update(Solve).where(Solve.resumed_from.is_not(None)).values(tenant_id="tnt_other"),
        ],
        [
            "a solve draws on",
            "a charge is its own",
            "a tenant was charged",
            "an inherited node is",
        ],
    ),
    (
        "inherited nodes with a gap",
        [update(InheritedNode).values(node=2)],
        ["inherited nodes are numbered"],
    ),
    (
        "an answer that was inherited and paid for",
        [update(Call).where(Call.op == "t9").values(op="gate.first")],
        ["what is inherited"],
    ),
    (
        "a replay that cost something",
        [update(Solve).where(Solve.resumed_from.is_not(None)).values(replay_of="slv_1")],
        ["a replay costs"],
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
        "the entries of a call's or correction's kind sum to zero",
    ]


async def test_gain_that_is_a_loss_is_found(database: Database) -> None:
    """Balanced, and on the wrong side: what a provider took beyond its bill is a loss."""
    live = await busy(database)
    call_id = f"{live.solve_id}:t1:1"
    await tamper(
        database,
        entry(call_id, "reconciliation", GAIN, 5),
        entry(call_id, "reconciliation", "provider:scripted", -5),
    )
    assert await broken(database) == ["a gain is no loss"]


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
