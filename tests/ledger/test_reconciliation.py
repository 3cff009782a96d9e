"""After a report of everything the books owe a provider what it says, to the nano-dollar."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from sqlalchemy import func, select, text, update

from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ledger.corrections import Corrections, Refund, Why
from app.ledger.endings import Loose
from app.ledger.finance_tables import ProviderReport, ProviderReportLine
from app.ledger.invariants import check
from app.ledger.journal import CallResult
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.provider_reports import ReportRow, hour_of
from app.ledger.reconciliation import Reconciled, Reconciliation, Report
from app.ledger.records import Records
from app.ledger.tables import Call, Entry
from app.money import NanoUSD
from tests.backends import SQLITE, account, opened
from tests.ledger.books import (
    answered,
    assert_books_hold,
    call,
    ending,
    failed,
    intent,
    nano,
    opening,
    unbilled,
)

MODEL = "cheap-1"


def under(request_id: str, result: CallResult) -> CallResult:
    """The outcome of a call that its provider gave an id."""
    return replace(result, provider_request_id=request_id)


def charge(amount: int, request_id: str | None = None, *, at: datetime | None = None) -> ReportRow:
    """A row of a report, in nano-dollars."""
    model = MODEL if at is not None else None
    return ReportRow(Decimal(amount).scaleb(-9), request_id, "key-1", model, at)


async def imported(
    database: Database,
    rows: Sequence[ReportRow],
    *,
    content: bytes | None = None,
    covered: tuple[datetime, datetime] | None = None,
) -> Reconciled:
    """The import of a report of these rows, in a file of its own."""
    report = Report("scripted", "report.csv", content or repr(rows).encode(), rows, covered)
    return await Reconciliation(database).run(report)


async def accounts(database: Database) -> dict[str, int]:
    """The balance of each account that has one, by its kind."""
    query = select(Entry.account, func.sum(Entry.amount)).group_by(Entry.account)
    balances: defaultdict[str, int] = defaultdict(int)
    async with database.read() as tx:
        for name, amount in (await tx.execute(query)).all():
            balances[name.partition(":")[0]] += int(amount)
    return {name: amount for name, amount in balances.items() if amount}


async def started(database: Database) -> dict[str, datetime]:
    """When each call started, by its id."""
    async with database.read() as tx:
        return {made: at for made, at in (await tx.execute(select(Call.id, Call.started_at))).all()}  # noqa: C416 - rows


async def whole(database: Database) -> tuple[datetime, datetime]:
    """The span of every call."""
    instants = (await started(database)).values()
    return hour_of(min(instants)), hour_of(max(instants)) + timedelta(hours=1)


async def busy(database: Database) -> Claim:
    """A solve: an answer with usage (30), one without (20 of 50), a failure, a cancelled call."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 500))
    await call(ledger, claim, under("r1", answered(30)), op="t1", max_cost=70)
    await call(ledger, claim, under("r2", unbilled(20)), op="t2", max_cost=50)
    await call(ledger, claim, failed(may_have_worked=True), op="t3", max_cost=40)
    made = intent(claim, "t4", max_cost=60)
    await ledger.intend(claim, made, grow=nano(0))
    await ledger.finish(claim, ending("cancelled"))
    return claim


async def test_report_by_request_settles_each_call(database: Database) -> None:
    """Suspense is nothing, the difference is the operator's; the tenant's bill is what it was."""
    claim = await busy(database)
    assert await accounts(database) == {"tenant": 50, "suspense": 130, "provider": -180}
    at = min((await started(database)).values())
    rows = [
        charge(33, "r1", at=at),
        charge(15, "r2", at=at),
        charge(44, "r8", at=at),  # the failed call, or the cancelled one: nobody can know
        charge(1, "r9", at=at),
    ]
    done = await imported(database, rows, covered=await whole(database))
    assert (done.loss, done.gain, done.waiting) == (3 + 45, 5, 0)
    assert await accounts(database) == {
        "tenant": 50,
        "platform_loss": 48,
        "gain": -5,
        "provider": -(33 + 15 + 44 + 1),
    }
    assert await Records(database).charged(claim.account.tenant_id) == 50
    assert sum(line.reported for line in done.lines) == 93
    await assert_books_hold(database)


async def test_report_by_the_hour_settles_all_calls_of_the_hour(database: Database) -> None:
    """Though not of which call it was more, or less."""
    await busy(database)
    totals: defaultdict[datetime, int] = defaultdict(int)
    for at in (await started(database)).values():
        totals[hour_of(at)] += 17
    rows = [charge(amount, at=hour) for hour, amount in totals.items()]
    done = await imported(database, rows)
    assert (done.loss, done.gain, done.waiting) == (max(0, 68 - 50), 0, 0)
    assert (await accounts(database))["provider"] == -68
    await assert_books_hold(database)


async def test_charge_without_a_call_is_the_operators_loss(database: Database) -> None:
    """And is flagged, on the line and in the reason."""
    await busy(database)
    before = await accounts(database)
    done = await imported(database, [charge(7, "stranger")])
    assert (done.loss, [line.is_unknown for line in done.lines]) == (7, [True])
    after = await accounts(database)
    assert after == before | {"platform_loss": 7, "provider": before["provider"] - 7}
    await assert_books_hold(database)


async def test_call_that_a_report_does_not_mention_stays(database: Database) -> None:
    """Unless the report tells everything of its hours."""
    await busy(database)
    at = min((await started(database)).values())
    done = await imported(database, [charge(30, "r1", at=at)])
    assert (done.loss, done.gain, done.waiting) == (0, 0, 130)
    done = await imported(database, [charge(30, "r1", at=at)] * 1, content=b"all", covered=None)
    assert done.waiting == 130
    done = await imported(
        database, [charge(30, "r1", at=at)], content=b"whole", covered=await whole(database)
    )
    assert (done.loss, done.gain, done.waiting) == (0, 20, 0)
    assert (await accounts(database))["provider"] == -30
    await assert_books_hold(database)


async def test_file_imported_twice_changes_nothing(database: Database) -> None:
    """And says what it came to the first time."""
    await busy(database)
    rows = [charge(33, "r1"), charge(7, "stranger")]
    first = await imported(database, rows)
    balances = await accounts(database)
    again = await imported(database, rows)
    assert (again.repeated, replace(again, repeated=False)) == (True, first)
    assert await accounts(database) == balances
    await assert_books_hold(database)


async def test_of_imports_of_a_file_at_once_one_counts(database_url: str) -> None:
    """By whichever process comes first."""
    async with opened(database_url) as one, opened(database_url) as other:
        await busy(one)
        rows = [charge(33, "r1"), charge(7, "stranger")]
        done = await asyncio.gather(*(imported((one, other)[n % 2], rows) for n in range(4)))
        assert sorted(it.repeated for it in done) == [False, True, True, True]
        assert (await accounts(one))["platform_loss"] == 3 + 7
        await assert_books_hold(one)


async def test_of_reports_at_once_that_tell_the_same_charge_one_counts(database_url: str) -> None:
    """The other finds it told, though it is in another file and no call of ours is behind it."""
    async with opened(database_url) as one, opened(database_url) as other:
        for number in range(8):
            at = datetime.now(UTC) - timedelta(days=1, hours=number)
            row = charge(70, at=at)
            files = [b"one %d" % number, b"other %d" % number]
            found = await asyncio.gather(
                *(
                    imported(each, [row], content=content)
                    for each, content in zip((one, other), files, strict=True)
                )
            )
            assert sorted(each.loss for each in found) == [0, 70]
        assert await accounts(one) == {"platform_loss": 8 * 70, "provider": -8 * 70}
        await assert_books_hold(one)


async def test_later_report_of_the_same_calls_stands(database: Database) -> None:
    """A provider that corrects itself is owed what it says last."""
    await busy(database)
    span = await whole(database)
    for n, amount in enumerate((33, 28, 30)):
        rows = [charge(amount, "r1", at=span[0]), charge(n, "stranger", at=span[0])]
        await imported(database, rows, covered=span)
        assert (await accounts(database))["provider"] == -(amount + n)
    assert (await accounts(database)).get("suspense") is None
    await assert_books_hold(database)


async def test_report_in_another_way_of_the_same_time_is_refused(database: Database) -> None:
    """By the hour what was told by request: it would be counted twice."""
    await busy(database)
    at = min((await started(database)).values())
    await imported(database, [charge(33, "r1", at=at)])
    with pytest.raises(InvalidRequest, match=r"'report.csv' told of that time"):
        await imported(database, [charge(33, at=at)])
    await imported(database, [charge(33, at=at - timedelta(days=1))])
    await assert_books_hold(database)


async def test_report_of_a_time_with_open_calls_is_refused(database: Database) -> None:
    """What such a call will cost is not on the books yet."""
    claim = await Ledger(database).hold(opening(await account(database), 100))
    made = intent(claim, max_cost=50)
    await Ledger(database).intend(claim, made, grow=nano(0))
    (at,) = (await started(database)).values()
    with pytest.raises(InvalidRequest, match="1 calls of that time are open"):
        await imported(database, [charge(33, at=at)])
    async with database.read() as tx:
        assert (await tx.execute(select(ProviderReport.id))).all() == []
    await Ledger(database).finish(claim, ending("cancelled"), loose=Loose(unmade=made))
    await imported(database, [charge(33, at=at)])
    await assert_books_hold(database)


async def test_empty_report_is_refused(database: Database) -> None:
    """It may be the wrong file."""
    with pytest.raises(InvalidRequest, match="has no row"):
        await imported(database, [], content=b"")


async def test_outcome_that_comes_after_its_reconciliation_is_not_booked(
    database: Database,
) -> None:
    """Its provider has said what it cost: the operator would pay it twice."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 100))
    made = intent(claim, max_cost=50)
    await ledger.intend(claim, made, grow=nano(0))
    await Leases(database, replica="replica-2").claim(most=1, running=[])
    (at,) = (await started(database)).values()
    await imported(database, [charge(31, at=at)])
    assert await ledger.settle_call(claim, made, answered(31)) is None
    assert await accounts(database) == {"platform_loss": 31, "provider": -31}
    await assert_books_hold(database)


async def test_late_cost_that_was_booked_before_is_known(database: Database) -> None:
    """Only what differs from it is posted."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 100))
    made = intent(claim, max_cost=50)
    await ledger.intend(claim, made, grow=nano(0))
    await ledger.finish(claim, ending("cancelled"))
    await ledger.settle_call(claim, made, under("r1", answered(31)))
    done = await imported(database, [charge(29, "r1")])
    assert (done.loss, done.gain) == (0, 2)
    assert await accounts(database) == {"platform_loss": 31, "gain": -2, "provider": -29}
    await assert_books_hold(database)


async def test_gain_of_a_known_call_may_be_refunded(database: Database) -> None:
    """By a credit of its own: what the report settled stays."""
    claim = await busy(database)
    done = await imported(database, [charge(10, "r2")])
    assert done.gain == 10
    refund = Refund(claim.solve_id, f"{claim.solve_id}:t2:1", nano(10))
    await Corrections(database).refund(refund, Why("report of November", "charged less"))
    assert (await accounts(database))["tenant"] == 40
    await assert_books_hold(database)


async def spend(database: Database, random: Random, n: int) -> dict[str, int]:
    """A solve of calls of any outcome; what its provider truly charged for each, by call id."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 900))
    truth: dict[str, int] = {}
    for k in range(random.randint(1, 5)):
        name, cost = f"r{n}.{k}", random.choice([0, 3, 40, 130])
        outcome = random.choice([answered(cost), unbilled(cost), failed(may_have_worked=True)])
        if random.random() < 0.7:
            outcome = under(name, outcome)
        made = intent(claim, f"t{k}", max_cost=100)
        await ledger.intend(claim, made, grow=nano(200))
        if random.random() < 0.8:
            await ledger.settle_call(claim, made, outcome)
        truth[made.call_id] = random.choice([0, cost, cost + 1, 77])
    await ledger.finish(claim, ending())
    return truth


async def reported(
    database: Database, truth: dict[str, int], *, by_request: bool
) -> list[ReportRow]:
    """A report of everything that was charged, under the ids that the journal knows, or by hour."""
    async with database.read() as tx:
        query = select(Call.id, Call.started_at, Call.provider_request_id)
        calls = (await tx.execute(query)).all()
    rows = [
        charge(truth[made], request_id or f"unheard of {made}", at=at)
        for made, at, request_id in calls
    ]
    rows.append(charge(5, "stranger", at=calls[0][1]))
    if by_request:
        return rows
    totals: defaultdict[datetime, Decimal] = defaultdict(Decimal)
    for one in rows:
        assert one.hour is not None
        totals[one.hour] += one.cost
    return [ReportRow(cost, None, None, MODEL, hour) for hour, cost in totals.items()]


@pytest.mark.parametrize("by_request", [True, False])
@pytest.mark.parametrize("seed", range(3))
async def test_after_a_report_of_everything_the_books_owe_what_it_says(
    database: Database, seed: int, *, by_request: bool
) -> None:
    """Charges are what was billed, plus the loss, less the gain; suspense is nothing."""
    random = Random(seed)
    truth: dict[str, int] = {}
    for n in range(5):
        truth |= await spend(database, random, n)
    before = await accounts(database)
    for _ in range(2):  # the second corrects the first
        rows = await reported(database, truth, by_request=by_request)
        await imported(database, rows, covered=await whole(database))
        after = await accounts(database)
        assert after.get("suspense", 0) == 0
        assert after.get("tenant", 0) == before.get("tenant", 0)
        billed = after.get("tenant", 0) + after.get("platform_loss", 0) + after.get("gain", 0)
        assert -after["provider"] == billed == sum(truth.values()) + 5
        await assert_books_hold(database)
        truth = {made: random.choice([cost, 0, cost + 9]) for made, cost in truth.items()}


@pytest.mark.parametrize("database_url", [SQLITE], indirect=True)
async def test_rules_find_what_a_report_did_not_post(database: Database) -> None:
    """A line that says something else."""
    await busy(database)
    await imported(database, [charge(33, "r1")], covered=await whole(database))

    async def work(tx: WriteTx) -> None:
        await tx.execute(text("DROP TRIGGER provider_report_line_refuses_update"))
        await tx.execute(text("UPDATE provider_report_line SET reported = reported + 1"))

    await database.write(work)
    found = [finding.name for finding in await check(database) if not finding.holds]
    assert found == ["a provider's report differs by what was posted for it"]


async def test_report_is_append_only(database: Database) -> None:
    """As what was posted for it."""
    await imported(database, [charge(7, "stranger")])
    for table in (ProviderReport, ProviderReportLine):

        async def work(
            tx: WriteTx, table: type[ProviderReport | ProviderReportLine] = table
        ) -> None:
            changed = {"name": "other"} if table is ProviderReport else {"reported": NanoUSD(1)}
            await tx.execute(update(table).values(changed))

        with pytest.raises(Exception, match="append-only"):
            await database.write(work)
