import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.db.engine import Database
from app.ledger.journal import CallResult, TrialPlace
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.postings import Bill, CallState, Share
from app.ledger.records import Records
from app.ledger.refusals import BudgetExceeded, ClaimLost
from app.ledger.tables import Call
from tests.backends import account
from tests.ledger.books import (
    answered,
    assert_books_hold,
    balances,
    call,
    call_states,
    end_earlier_period,
    ending,
    failed,
    intent,
    levels,
    nano,
    open_earlier_period,
    opening,
    solve_row,
    stale,
    unbilled,
)


async def held(database: Database, hold: int, *, cap: int = 1_000) -> Claim:
    """A solve of a tenant with plenty."""
    return await Ledger(database).hold(opening(await account(database), hold, cap=cap))


async def test_intent_draws_its_worst_case_from_the_hold(database: Database) -> None:
    """The tenant's budget is not touched."""
    claim = await held(database, 100)
    await Ledger(database).intend(claim, intent(claim, max_cost=70), grow=nano(0))
    assert await solve_row(database, claim) == (100, 0, 70, "in_progress")
    assert await levels(database, claim.account) == [(0, 100), (0, 100)]
    assert await call_states(database, claim) == {"gate.first": "intent"}
    await assert_books_hold(database)


async def test_intent_may_enlarge_the_hold(database: Database) -> None:
    """On every budget that admitted the solve."""
    claim = await held(database, 100)
    await Ledger(database).intend(claim, intent(claim, max_cost=150), grow=nano(50))
    assert await solve_row(database, claim) == (150, 0, 150, "in_progress")
    assert await levels(database, claim.account) == [(0, 150), (0, 150)]
    await assert_books_hold(database)


async def test_intent_needs_the_current_token(database: Database) -> None:
    """A process whose solve was taken over makes no further call."""
    claim = await held(database, 100)
    with pytest.raises(ClaimLost):
        await Ledger(database).intend(stale(claim), intent(claim, max_cost=10), grow=nano(5))
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")
    assert await levels(database, claim.account) == [(0, 100), (0, 100)]
    assert await call_states(database, claim) == {}


async def test_intent_needs_a_solve_that_has_not_ended(database: Database) -> None:
    """The right token is not enough."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    await ledger.finish(claim, ending())
    with pytest.raises(ClaimLost):
        await ledger.intend(claim, intent(claim, max_cost=10), grow=nano(0))
    assert await call_states(database, claim) == {}
    await assert_books_hold(database)


async def test_refused_growth_leaves_everything_as_before(database: Database) -> None:
    """Also on the level that had room."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(1000), key_limit=nano(120))
    claim = await ledger.hold(opening(payer, 100))
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.intend(claim, intent(claim, max_cost=130), grow=nano(30))
    assert (refused.value.scope, refused.value.asked, refused.value.available) == ("key", 30, 20)
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")
    assert await levels(database, payer) == [(0, 100), (0, 100)]
    assert await call_states(database, claim) == {}
    await assert_books_hold(database)


async def test_growth_is_refused_by_the_period_that_admitted_the_solve(database: Database) -> None:
    """What today's budget would allow is no answer for a solve of yesterday."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100))
    await open_earlier_period(database, payer)
    claim = await ledger.hold(opening(payer, 90))
    await end_earlier_period(database)
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.intend(claim, intent(claim, max_cost=110), grow=nano(20))
    assert (refused.value.scope, refused.value.available) == ("tenant", 10)


async def test_draw_beyond_the_hold_is_refused(database: Database) -> None:
    """As the request's own bound, with what the hold has left."""
    claim = await held(database, 100)
    ledger = Ledger(database)
    await ledger.intend(claim, intent(claim, "t1", max_cost=60), grow=nano(0))
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.intend(claim, intent(claim, "t2", max_cost=60), grow=nano(10))
    refusal = refused.value
    assert (refusal.scope, refusal.asked, refusal.available) == ("request", 60, 50)
    assert await solve_row(database, claim) == (100, 0, 60, "in_progress")
    assert await levels(database, claim.account) == [(0, 100), (0, 100)]
    await assert_books_hold(database)


async def test_growth_beyond_the_cap_is_refused(database: Database) -> None:
    """Whatever the tenant's budget has."""
    claim = await held(database, 100, cap=120)
    with pytest.raises(BudgetExceeded, match="request"):
        await Ledger(database).intend(claim, intent(claim, max_cost=130), grow=nano(30))
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")


async def test_overrun_that_takes_the_room_of_a_draw_makes_it_a_refusal(
    database: Database,
) -> None:
    """A worker that counted on that room is refused as by any budget, and the solve goes on."""
    ledger = Ledger(database)
    claim = await held(database, 20)
    first = intent(claim, "t1", max_cost=10)
    await ledger.intend(claim, first, grow=nano(0))
    await ledger.settle_call(claim, first, answered(15))
    with pytest.raises(BudgetExceeded, match="request"):
        await ledger.intend(claim, intent(claim, "t2", max_cost=10), grow=nano(0))
    await ledger.intend(claim, intent(claim, "t2", max_cost=5), grow=nano(0))
    await ledger.finish(claim, ending("incomplete"))
    await assert_books_hold(database)


async def test_negative_worst_case_makes_no_room(database: Database) -> None:
    """The database refuses it, beside a call whose draw would cover it."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    await ledger.intend(claim, intent(claim, "t1", max_cost=100), grow=nano(0))
    with pytest.raises(IntegrityError):
        await ledger.intend(claim, intent(claim, "t2", max_cost=-100), grow=nano(0))
    assert await solve_row(database, claim) == (100, 0, 100, "in_progress")
    await assert_books_hold(database)


async def test_call_is_journalled_once(database: Database) -> None:
    """A second intent under its id draws nothing."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    made = intent(claim, max_cost=10)
    await ledger.intend(claim, made, grow=nano(0))
    with pytest.raises(IntegrityError):
        await ledger.intend(claim, made, grow=nano(10))
    assert await solve_row(database, claim) == (100, 0, 10, "in_progress")
    assert await levels(database, claim.account) == [(0, 100), (0, 100)]
    await assert_books_hold(database)


async def test_answer_costs_what_was_billed_and_frees_the_rest(database: Database) -> None:
    """Within the hold; the budget learns of it when the solve ends."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    made = intent(claim, max_cost=70)
    await ledger.intend(claim, made, grow=nano(0))
    assert await ledger.settle_call(claim, made, answered(30)) == Share(nano(30))
    assert await solve_row(database, claim) == (100, 30, 0, "in_progress")
    assert await levels(database, claim.account) == [(0, 100), (0, 100)]
    assert await balances(database, claim) == {"tenant": 30, "provider": -30}
    await assert_books_hold(database)


async def test_call_is_settled_once(database: Database) -> None:
    """A second report is told so, and changes nothing, whatever it says."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    made = await call(ledger, claim, answered(30), max_cost=70)
    for again in (answered(30), answered(70), failed(may_have_worked=True), unbilled(9)):
        assert await ledger.settle_call(claim, made, again) is None
    assert await solve_row(database, claim) == (100, 30, 0, "in_progress")
    assert await balances(database, claim) == {"tenant": 30, "provider": -30}
    await assert_books_hold(database)


async def test_outcome_is_a_fact_that_needs_no_token(database: Database) -> None:
    """The money is gone, whoever saw it go."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    made = intent(claim, max_cost=70)
    await ledger.intend(claim, made, grow=nano(0))
    assert await ledger.settle_call(stale(claim), made, answered(30)) == Share(nano(30))
    await assert_books_hold(database)


async def test_outcome_of_a_call_that_was_never_journalled_is_nothing(database: Database) -> None:
    """No entry without an intent."""
    claim = await held(database, 100)
    made = intent(claim, max_cost=70)
    assert await Ledger(database).settle_call(claim, made, answered(30)) is None
    assert await balances(database, claim) == {}
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")


@pytest.mark.parametrize(("billed", "paid", "loss"), [(80, 80, 0), (100, 100, 0), (130, 100, 30)])
async def test_overrun_is_paid_from_the_hold_and_beyond_it_by_the_operator(
    database: Database, billed: int, paid: int, loss: int
) -> None:
    """No CHECK ever refuses an outcome."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    made = intent(claim, max_cost=70)
    await ledger.intend(claim, made, grow=nano(0))
    assert await ledger.settle_call(claim, made, answered(billed)) == Share(nano(paid), nano(loss))
    assert await solve_row(database, claim) == (100, paid, 0, "in_progress")
    await assert_books_hold(database)
    await ledger.finish(claim, ending())
    assert await levels(database, claim.account) == [(paid, 0), (paid, 0)]
    await assert_books_hold(database)


async def test_overrun_does_not_take_what_other_calls_hold(database: Database) -> None:
    """Its room is what no call in flight has drawn."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    one, other = intent(claim, "t1", max_cost=40), intent(claim, "t2", max_cost=50)
    await ledger.intend(claim, one, grow=nano(0))
    await ledger.intend(claim, other, grow=nano(0))
    assert await ledger.settle_call(claim, one, answered(90)) == Share(nano(50), nano(40))
    assert await ledger.settle_call(claim, other, answered(50)) == Share(nano(50))
    await assert_books_hold(database)


async def test_overruns_at_once_spend_the_same_room_once(database: Database) -> None:
    """Each outcome is booked, and together they stay within the hold."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    made = [intent(claim, f"t{n}", max_cost=10) for n in range(8)]
    for one in made:
        await ledger.intend(claim, one, grow=nano(0))
    splits = await asyncio.gather(*(ledger.settle_call(claim, one, answered(25)) for one in made))
    paid = sum(split.tenant for split in splits if split is not None)
    lost = sum(split.platform_loss for split in splits if split is not None)
    assert (paid, lost) == (100, 100)
    assert await solve_row(database, claim) == (100, 100, 0, "in_progress")
    await assert_books_hold(database)


async def test_unanswered_call_waits_in_suspense(database: Database) -> None:
    """The tenant pays nothing for it."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    await call(ledger, claim, failed(may_have_worked=True), max_cost=70)
    assert await balances(database, claim) == {"suspense": 70, "provider": -70}
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")
    await assert_books_hold(database)


async def test_call_refused_before_work_leaves_no_entry(database: Database) -> None:
    """No connection, a rejected request: nobody is owed."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    await call(ledger, claim, failed(may_have_worked=False), max_cost=70)
    assert await balances(database, claim) == {}
    assert await call_states(database, claim) == {"gate.first": "failed"}
    await assert_books_hold(database)


async def test_answer_without_usage_costs_what_was_counted(database: Database) -> None:
    """Marked as an estimate; the rest of its worst case waits in suspense."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    await call(ledger, claim, unbilled(20), max_cost=70)
    assert await balances(database, claim) == {"tenant": 20, "suspense": 50, "provider": -70}
    assert (await Records(database).calls(claim.solve_id))[0].estimated
    await assert_books_hold(database)


async def test_free_call_leaves_no_entry(database: Database) -> None:
    """But a journal row."""
    ledger = Ledger(database)
    claim = await held(database, 0)
    await call(ledger, claim, answered(0), max_cost=0)
    assert await balances(database, claim) == {}
    assert await call_states(database, claim) == {"gate.first": "ok"}
    await assert_books_hold(database)


async def test_second_answer_to_an_op_is_refused(database: Database) -> None:
    """It stays open, and ends with its solve."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    first, second = (intent(claim, max_cost=10, attempt=attempt) for attempt in (1, 2))
    for made in (first, second):
        await ledger.intend(claim, made, grow=nano(0))
    await ledger.settle_call(claim, first, answered(10))
    with pytest.raises(IntegrityError):
        await ledger.settle_call(claim, second, answered(10))
    await assert_books_hold(database)
    await ledger.finish(claim, ending())
    assert await balances(database, claim) == {"tenant": 10, "suspense": 10, "provider": -20}
    await assert_books_hold(database)


@pytest.mark.parametrize("text", ["nul \0 in it", "half an emoji \ud83d", "\udc00 the other half"])
async def test_answer_that_no_database_takes_is_booked_all_the_same(
    database: Database, text: str
) -> None:
    """Without what cannot be kept of it; it is paid for."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    await call(ledger, claim, answered(10, text), max_cost=10)
    kept = (await Records(database).texts(claim.solve_id))["call:gate.first"]
    assert "\N{REPLACEMENT CHARACTER}" in kept
    assert await balances(database, claim) == {"tenant": 10, "provider": -10}


async def test_whatever_a_provider_says_of_its_answer_fits(database: Database) -> None:
    """Names longer than anybody expected, with characters that no column takes."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    odd = "\0\ud83d" + "x" * 5_000
    made = CallResult(
        Bill(CallState.OK, nano(10)),
        finish_reason="malformed_function_call",
        returned_model=odd,
        provider_request_id=odd,
        error=odd,
    )
    await call(ledger, claim, made, max_cost=10)
    assert await call_states(database, claim) == {"gate.first": "ok"}
    assert (await Records(database).calls(claim.solve_id))[0].error is not None


async def test_later_text_of_an_op_takes_the_place_of_an_earlier_one(database: Database) -> None:
    """An attempt that failed half-way may have left a text."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    cut = CallResult(Bill(CallState.FAILED, nano(10)), text="39")
    first, second = (intent(claim, max_cost=10, attempt=attempt) for attempt in (1, 2))
    for made, result in ((first, cut), (second, answered(10))):
        await ledger.intend(claim, made, grow=nano(0))
        await ledger.settle_call(claim, made, result)
    assert await Records(database).texts(claim.solve_id) == {"call:gate.first": "391"}
    await assert_books_hold(database)


async def test_trial_is_journalled_with_its_place(database: Database) -> None:
    """From which the tree can be rebuilt."""
    ledger = Ledger(database)
    claim = await held(database, 100)
    made = intent(claim, "t3", max_cost=10, trial=TrialPlace(ask=3, parent=1, asked_seq=7))
    await ledger.intend(claim, made, grow=nano(0))
    query = select(Call.ask, Call.parent, Call.asked_seq).where(Call.id == made.call_id)
    async with database.read() as tx:
        assert tuple((await tx.execute(query)).one()) == (3, 1, 7)
