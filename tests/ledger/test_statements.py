"""A month is the sum of its receipts, and once closed it never changes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import select, text, update

from app.db.clock import now
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import TenantId
from app.ledger.budgets import Account
from app.ledger.corrections import Corrections, Credit, Refund, Why, credits_between
from app.ledger.invariants import check
from app.ledger.ledger import Ledger
from app.ledger.months import Month
from app.ledger.openings import Claim
from app.ledger.periods import FOREVER
from app.ledger.receipts import Receipts
from app.ledger.statements import SETTLES_IN, Statements
from app.ledger.tables import Entry
from tests.backends import SQLITE, account
from tests.ledger.books import (
    answered,
    assert_books_hold,
    call,
    ending,
    failed,
    nano,
    opening,
    unbilled,
)

PAST = [Month(2026, 8), Month(2026, 9)]
INSTANTS = [
    instant for month in PAST for instant in (month.start, month.end - timedelta(microseconds=1))
]
"""The first and the last instant of each past month."""


async def backdate(database: Database, entry_ids: Sequence[str], at: datetime) -> None:
    """Let entries have been posted at another time, which no code can do."""

    async def work(tx: WriteTx) -> None:
        on_sqlite = database.url.startswith("sqlite")
        if on_sqlite:
            await tx.execute(text("DROP TRIGGER IF EXISTS entry_refuses_update"))
        else:
            await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(update(Entry).where(Entry.id.in_(entry_ids)).values(posted_at=at))

    await database.write(work)


async def entries(database: Database) -> Sequence[str]:
    """All of them."""
    async with database.read() as tx:
        return (await tx.scalars(select(Entry.id).order_by(Entry.id))).all()


@dataclass
class Customer:
    """A tenant that spends and is given back, at random."""

    database: Database
    payer: Account
    random: Random
    claims: list[Claim] = field(default_factory=list[Claim])
    deeds: int = 0

    async def spend(self) -> None:
        """A solve with some calls."""
        ledger = Ledger(self.database)
        claim = await ledger.hold(opening(self.payer, 500))
        for n in range(self.random.randint(0, 3)):
            cost = self.random.choice([0, 1, 17, 90])
            outcome = self.random.choice(
                [answered(cost), unbilled(cost), failed(may_have_worked=True)]
            )
            await call(ledger, claim, outcome, op=f"t{n}", max_cost=100)
        await ledger.finish(claim, ending())
        self.claims.append(claim)

    async def correct(self) -> None:
        """A refund of a solve, of one call in part, or an adjustment; some are refused."""
        self.deeds += 1
        why, corrections = Why(f"deed-{self.deeds}", "at random"), Corrections(self.database)
        claim = self.random.choice(self.claims)
        with suppress(InvalidRequest):
            match self.random.randrange(3):
                case 0:
                    await corrections.refund(Refund(claim.solve_id), why)
                case 1:
                    part = Refund(claim.solve_id, f"{claim.solve_id}:t0:1", nano(5))
                    await corrections.refund(part, why)
                case _:
                    tenant = self.payer.tenant_id
                    await corrections.adjust(tenant, nano(self.random.choice([-8, 3])), why)

    async def charged(self, month: Month) -> int:
        """What the receipt lines of a month add up to."""
        total = 0
        for claim in self.claims:
            receipt = await Receipts(self.database).of(self.payer.tenant_id, claim.solve_id)
            assert receipt is not None
            assert sum(line.cost for line in receipt.lines) == receipt.total
            total += sum(
                line.cost
                for line in receipt.lines
                if line.posted_at is not None and Month.of(line.posted_at) == month
            )
        return total

    async def credited(self, month: Month) -> Sequence[Credit]:
        """What was given back in a month."""
        start, end = FOREVER
        async with self.database.read() as tx:
            found = await credits_between(tx, self.payer.tenant_id, start=start, end=end)
        return [one for one in found if Month.of(one.posted_at) == month]


@pytest.mark.parametrize("seed", range(5))
async def test_any_month_is_the_sum_of_its_receipts_and_its_credits(
    database: Database, seed: int
) -> None:
    """Whatever was solved, refunded and adjusted, in whatever month; closed months stay."""
    random = Random(seed)
    customer = Customer(database, await account(database), random)
    stranger = Customer(database, await account(database), random)
    for one in (customer, stranger):
        for _ in range(6):
            await one.spend()
            await one.correct()
    for entry in await entries(database):
        if random.random() < 0.6:
            await backdate(database, [entry], random.choice(INSTANTS))
    statements, tenant = Statements(database), customer.payer.tenant_id
    async with database.read() as tx:
        current = Month.of(await now(tx))
    totals = 0
    for month in (*PAST, current):
        told = await statements.of(tenant, month)
        credits_ = await customer.credited(month)
        assert told.charges == await customer.charged(month)
        assert list(told.credits) == list(credits_)
        assert told.total == told.charges - sum(one.amount for one in credits_)
        assert told.refunds + told.adjustments == sum(one.amount for one in credits_)
        totals += told.total
    assert totals == await owed(database, tenant)
    closed = [await statements.close(tenant, month) for month in PAST]
    for _ in range(5):
        await customer.spend()
        await customer.correct()
    assert [await statements.of(tenant, month) for month in PAST] == closed
    assert [await statements.close(tenant, month) for month in PAST] == closed
    assert all(one.closed_at is not None for one in closed)
    after = await statements.of(tenant, current)
    assert sum(one.total for one in closed) + after.total == await owed(database, tenant)
    await assert_books_hold(database)


async def owed(database: Database, tenant: TenantId) -> int:
    """The balance of the tenant's account."""
    async with database.read() as tx:
        query = select(Entry.amount).where(Entry.account == f"tenant:{tenant}")
        return sum((await tx.scalars(query)).all())


async def test_month_is_not_closed_while_something_may_be_posted_to_it(
    database: Database,
) -> None:
    """The current one, and one to come; an empty one that is over is closed at nothing."""
    tenant = (await account(database)).tenant_id
    async with database.read() as tx:
        current = Month.of(await now(tx))
    for month in (current, Month.of(current.end)):
        with pytest.raises(InvalidRequest, match="can be closed from"):
            await Statements(database).close(tenant, month)
    empty = await Statements(database).close(tenant, PAST[0])
    assert (empty.total, list(empty.lines), list(empty.credits)) == (0, [], [])
    assert timedelta(0) < SETTLES_IN < timedelta(days=1)


@pytest.mark.parametrize("database_url", [SQLITE], indirect=True)
async def test_rule_finds_what_was_posted_to_a_closed_month(database: Database) -> None:
    """Behind the ledger's back."""
    payer = await account(database)
    claim = await Ledger(database).hold(opening(payer, 100))
    await call(Ledger(database), claim, answered(30), max_cost=70)
    await Ledger(database).finish(claim, ending())
    await Statements(database).close(payer.tenant_id, PAST[0])
    assert [finding.name for finding in await check(database) if not finding.holds] == []
    await backdate(database, await entries(database), PAST[0].start)
    found = [finding.name for finding in await check(database) if not finding.holds]
    assert found == ["a closed month is what was posted in it"]


async def test_closed_month_is_append_only(database: Database) -> None:
    """The database itself refuses."""
    tenant = (await account(database)).tenant_id
    await Statements(database).close(tenant, PAST[0])

    async def work(tx: WriteTx) -> None:
        await tx.execute(text("UPDATE statement SET charges = 1"))

    with pytest.raises(Exception, match="append-only"):
        await database.write(work)


def test_month_knows_its_bounds() -> None:
    """Across the end of a year, and in UTC wherever the instant was read."""
    december = Month.parse("2026-12")
    assert (december.start, december.end) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    assert Month.of(datetime.fromisoformat("2027-01-01T00:30:00+01:00")) == december
    assert str(december) == "2026-12"


@pytest.mark.parametrize("written", ["2026-13", "2026-00", "1999-12", "2026-1", "2026-11-01", ""])
def test_what_is_no_month_is_refused(written: str) -> None:
    """In words that say how to write one."""
    with pytest.raises(InvalidRequest, match="write it as 2026-11"):
        Month.parse(written)
