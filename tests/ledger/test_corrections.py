"""Credits: posted beside what was charged, once a reference, never beyond it."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Executable, insert, select, update

from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import SolveId
from app.ledger.budgets import Account
from app.ledger.corrections import Corrections, Credit, Refund, Why
from app.ledger.invariants import check
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.receipts import Receipts
from app.ledger.records import Records
from app.ledger.tables import Call, Correction, Entry
from tests.backends import SQLITE, account, opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    balances,
    call,
    ending,
    failed,
    intent,
    levels,
    nano,
    opening,
)

WHY = Why("ticket-1", "the answer was about another question")


async def ended(database: Database, payer: Account | None = None) -> Claim:
    """A solve with calls of 30 and 12, and one that failed."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(payer or await account(database), 300))
    await call(ledger, claim, answered(30), op="t1", max_cost=70)
    await call(ledger, claim, answered(12), op="t2", max_cost=70)
    await call(ledger, claim, failed(may_have_worked=False), op="t3", max_cost=70)
    await ledger.finish(claim, ending())
    return claim


def named(claim: Claim, op: str) -> str:
    """A call's id."""
    return f"{claim.solve_id}:{op}:1"


def amounts(made: Sequence[Credit]) -> list[tuple[str | None, int]]:
    """What of which call."""
    return [(one.call_id, one.amount) for one in made]


async def test_part_of_a_call_is_given_back(database: Database) -> None:
    """As a credit of its own: charges, solve and budget stay what they were."""
    claim = await ended(database)
    before = await levels(database, claim.account)
    refund = Refund(claim.solve_id, named(claim, "t1"), nano(10))
    (made,) = await Corrections(database).refund(refund, WHY)
    assert (made.kind, made.call_id, made.amount) == ("refund", named(claim, "t1"), 10)
    assert (made.reference, made.reason) == (WHY.reference, WHY.reason)
    assert await balances(database, claim) == {"tenant": 32, "credits": 10, "provider": -42}
    assert await Records(database).charged(claim.account.tenant_id) == 42
    assert await levels(database, claim.account) == before
    receipt = await Receipts(database).of(claim.account.tenant_id, claim.solve_id)
    assert receipt is not None
    assert (receipt.total, sum(line.cost for line in receipt.lines)) == (42, 42)
    assert receipt.credits == [made]
    await assert_books_hold(database)


async def test_everything_that_is_left_is_given_back(database: Database) -> None:
    """Of each call what earlier refunds have left of it."""
    claim = await ended(database)
    corrections = Corrections(database)
    await corrections.refund(Refund(claim.solve_id, named(claim, "t1"), nano(10)), WHY)
    rest = await corrections.refund(Refund(claim.solve_id), Why("ticket-2", "all of it"))
    assert amounts(rest) == [(named(claim, "t1"), 20), (named(claim, "t2"), 12)]
    assert await balances(database, claim) == {"tenant": 0, "credits": 42, "provider": -42}
    with pytest.raises(InvalidRequest, match="nothing of it is left"):
        await corrections.refund(Refund(claim.solve_id), Why("ticket-3", "again"))
    await assert_books_hold(database)


async def test_refund_repeated_under_its_reference_is_done_once(database: Database) -> None:
    """Whoever repeats it is told what was done."""
    claim = await ended(database)
    corrections = Corrections(database)
    for asked in (Refund(claim.solve_id, named(claim, "t1"), nano(10)), Refund(claim.solve_id)):
        why = Why(f"ticket of {asked.amount}", "no answer")
        first = await corrections.refund(asked, why)
        assert await corrections.refund(asked, why) == first
    assert await balances(database, claim) == {"tenant": 0, "credits": 42, "provider": -42}
    await assert_books_hold(database)


@pytest.mark.parametrize("count", [2, 5])
async def test_of_equal_refunds_at_once_one_is_done(database_url: str, count: int) -> None:
    """Under one reference; under references of their own, no more than there is."""
    async with opened(database_url) as one, opened(database_url) as other:
        claim = await ended(one)
        refund = Refund(claim.solve_id, named(claim, "t1"), nano(20))
        both = [Corrections((one, other)[n % 2]) for n in range(count)]
        made = await asyncio.gather(*(ledger.refund(refund, WHY) for ledger in both))
        assert made == [made[0]] * count
        rest = await asyncio.gather(
            *(ledger.refund(refund, Why(f"other-{n}", "no")) for n, ledger in enumerate(both)),
            return_exceptions=True,
        )
        assert all(isinstance(one, InvalidRequest) for one in rest)
        assert (await balances(one, claim))["credits"] == 20
        await assert_books_hold(one)


async def test_reference_of_something_else_is_refused(database: Database) -> None:
    """And changes nothing; another tenant's references are its own."""
    claim, another = await ended(database), await ended(database)
    corrections = Corrections(database)
    tenant = claim.account.tenant_id
    await corrections.refund(Refund(claim.solve_id, named(claim, "t1"), nano(10)), WHY)
    second = await ended(database, claim.account)
    for other in (
        Refund(claim.solve_id, named(claim, "t1"), nano(11)),
        Refund(claim.solve_id, named(claim, "t2"), nano(10)),
        Refund(second.solve_id),
    ):
        with pytest.raises(InvalidRequest, match="used for another"):
            await corrections.refund(other, WHY)
    with pytest.raises(InvalidRequest, match="used for another"):
        await corrections.adjust(tenant, nano(10), WHY)
    await corrections.refund(Refund(another.solve_id), WHY)
    await assert_books_hold(database)


async def test_more_than_was_charged_is_never_given_back(database: Database) -> None:
    """Nor of a call that cost nothing, an unknown one, or one that is still open."""
    claim = await ended(database)
    corrections = Corrections(database)
    live = await Ledger(database).hold(opening(claim.account, 100))
    await Ledger(database).intend(live, intent(live, max_cost=50), grow=nano(0))
    for refund, said in (
        (Refund(claim.solve_id, named(claim, "t1"), nano(31)), "30 nano-USD are left"),
        (Refund(claim.solve_id, named(claim, "t3"), nano(1)), "0 nano-USD are left"),
        (Refund(claim.solve_id, named(claim, "t3")), "nothing of it is left"),
        (Refund(claim.solve_id, named(claim, "t4")), "no call"),
        (Refund(SolveId("slv_1")), "no solve"),
        (Refund(live.solve_id), "still open"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            await corrections.refund(refund, WHY)
    await assert_books_hold(database)


@pytest.mark.parametrize("credit", [7, -7])
async def test_tenant_is_adjusted_either_way(database: Database, credit: int) -> None:
    """Once a reference, for no call; at once from several processes, too."""
    claim = await ended(database)
    tenant, corrections = claim.account.tenant_id, Corrections(database)
    made = await asyncio.gather(*(corrections.adjust(tenant, nano(credit), WHY) for _ in range(4)))
    assert made == [made[0]] * 4
    assert (made[0].kind, made[0].call_id, made[0].amount) == ("adjustment", None, credit)
    with pytest.raises(InvalidRequest, match="used for another"):
        await corrections.adjust(tenant, nano(8), WHY)
    assert await Records(database).charged(tenant) == 42
    async with database.read() as tx:
        query = select(Entry.account, Entry.amount).where(Entry.correction_id == made[0].id)
        rows = {(payer, amount) for payer, amount in (await tx.execute(query)).all()}
    assert rows == {(f"tenant:{tenant}", -credit), ("credits", credit)}
    await assert_books_hold(database)


NONSENSE: Sequence[tuple[Callable[[], object], str]] = [
    (lambda: Refund(SolveId("slv_1"), None, nano(1)), "call"),
    (lambda: Refund(SolveId("slv_1"), "slv_1:t1:1", nano(0)), "amount"),
    (lambda: Why("", "no answer"), "reference"),
    (lambda: Why("ticket", "line\nbreak"), "reason"),
    (lambda: Why("t" * 201, "no answer"), "reference"),
]


@pytest.mark.parametrize(("make", "said"), NONSENSE)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], said: str) -> None:
    """Before anything is read."""
    with pytest.raises(InvalidRequest, match=said):
        make()


async def test_correction_is_append_only(database: Database) -> None:
    """As what it corrects."""
    claim = await ended(database)
    await Corrections(database).refund(Refund(claim.solve_id), WHY)

    async def work(tx: WriteTx) -> None:
        await tx.execute(update(Correction).values(reason="another"))

    with pytest.raises(Exception, match="append-only"):
        await database.write(work)


def posted(correction: str, kind: str, payer: str, amount: int) -> Executable:
    """One side of an entry about a correction."""
    return insert(Entry).values(
        id=f"ent-{payer}",
        correction_id=correction,
        kind=kind,
        account=payer,
        amount=amount,
        posted_at=Clock(),
    )


@pytest.mark.parametrize("database_url", [SQLITE], indirect=True)
async def test_rules_find_a_refund_that_is_wrong(database: Database) -> None:
    """Beyond its charge, of another tenant's call, without an amount, of no kind that there is."""
    claim, another = await ended(database), await ended(database)
    payer, other = (f"tenant:{one.account.tenant_id}" for one in (claim, another))

    def noted(name: str, whose: str) -> Executable:
        return insert(Correction).values(
            id=name,
            kind="refund",
            account=whose,
            reference=name,
            subject="",
            solve_id=claim.solve_id,
            call_id=named(claim, "t1"),
            reason="",
            posted_at=Clock(),
        )

    async def broken(*statements: Executable) -> list[str]:
        async def work(tx: WriteTx) -> None:
            for statement in statements:
                await tx.execute(statement)

        await database.write(work)
        return [finding.name for finding in await check(database) if not finding.holds]

    assert await broken(noted("cor_1", payer)) == ["a credit is posted with its reason"]
    assert await broken(
        posted("cor_1", "refund", payer, -31), posted("cor_1", "refund", "credits", 31)
    ) == ["no call is refunded beyond its charge"]
    found = await broken(
        noted("cor_2", other),
        posted("cor_2", "late", other, -1),
        posted("cor_2", "late", "platform_loss", 1),
    )
    assert found == [
        "no call is refunded beyond its charge",
        "a refund is its own tenant's",
        "a credit is posted with its reason",
        "a tenant's account has charges and credits alone",
    ]


async def test_call_is_never_refunded_without_its_name(database: Database) -> None:
    """A refund's row names a call: the database refuses another."""

    async def work(tx: WriteTx) -> None:
        await tx.execute(
            insert(Correction).values(
                id="cor_1",
                kind="refund",
                account="tenant:t",
                reference="r",
                subject="",
                reason="",
                posted_at=Clock(),
            )
        )

    with pytest.raises(Exception, match="ck_correction_refund"):
        await database.write(work)
    async with database.read() as tx:
        assert (await tx.execute(select(Call.id))).all() == []
