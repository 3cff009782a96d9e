import pytest
from sqlalchemy import func, select

from app.db.engine import Database
from app.ids import solve_id
from app.ledger.budgets import Account
from app.ledger.endings import Ending, Loose
from app.ledger.journal import Intent, Told, TrialPlace
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.records import Records
from app.ledger.refusals import ClaimLost
from app.ledger.tables import Entry, SolveInput
from tests.backends import account
from tests.ledger.books import (
    answered,
    assert_books_hold,
    balances,
    call,
    call_states,
    ending,
    intent,
    levels,
    nano,
    opening,
    solve_row,
    stale,
)


async def test_end_posts_what_was_spent_and_frees_the_rest(database: Database) -> None:
    """On every level; the solve holds what it cost."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100), key_limit=nano(100))
    claim = await ledger.hold(opening(payer, 100))
    await call(ledger, claim, answered(30), max_cost=70)
    await ledger.finish(claim, ending())
    assert await levels(database, payer) == [(30, 0), (30, 0)]
    assert await solve_row(database, claim) == (30, 30, 0, "completed")
    again = await ledger.hold(opening(payer, 70))
    await assert_books_hold(database)
    await ledger.finish(again, ending("cancelled"))
    assert await levels(database, payer) == [(30, 0), (30, 0)]
    await assert_books_hold(database)


async def test_solve_ends_once(database: Database) -> None:
    """A repeat, even with another ending, changes nothing."""
    ledger = Ledger(database)
    payer = await account(database)
    claim = await ledger.hold(opening(payer, 100))
    await call(ledger, claim, answered(30), max_cost=70)
    await ledger.finish(claim, ending("completed"))
    ended = await Records(database).solve(payer.tenant_id, claim.solve_id)
    await ledger.finish(claim, ending("failed", erase=True))
    assert await Records(database).solve(payer.tenant_id, claim.solve_id) == ended
    assert "answer" in await Records(database).texts(claim.solve_id)
    assert await levels(database, payer) == [(30, 0), (30, 0)]
    await assert_books_hold(database)


async def test_end_needs_the_current_token(database: Database) -> None:
    """What a zombie decides no longer counts."""
    ledger = Ledger(database)
    payer = await account(database)
    claim = await ledger.hold(opening(payer, 100))
    with pytest.raises(ClaimLost):
        await ledger.finish(stale(claim), ending())
    assert await levels(database, payer) == [(0, 100), (0, 100)]
    assert await solve_row(database, claim) == (100, 0, 0, "in_progress")


async def test_no_call_stays_open_when_its_solve_ends(database: Database) -> None:
    """Its worst case waits in suspense; the tenant pays nothing for it."""
    ledger = Ledger(database)
    payer = await account(database)
    claim = await ledger.hold(opening(payer, 100))
    await call(ledger, claim, answered(30), op="t1", max_cost=40)
    left = intent(claim, "t2", max_cost=50)
    await ledger.intend(claim, left, grow=nano(0))
    await ledger.finish(claim, ending("cancelled"))
    assert await call_states(database, claim) == {"t1": "ok", "t2": "cancelled"}
    assert await balances(database, claim) == {"tenant": 30, "suspense": 50, "provider": -80}
    assert await levels(database, payer) == [(30, 0), (30, 0)]
    await assert_books_hold(database)


async def test_erased_texts_leave_every_amount(database: Database) -> None:
    """Neither question nor answer; entries, calls and the bill stay."""
    ledger = Ledger(database)
    payer = await account(database)
    claim = await ledger.hold(opening(payer, 100))
    await call(ledger, claim, answered(30), max_cost=70)
    await ledger.finish(claim, ending(erase=True))
    assert await Records(database).texts(claim.solve_id) == {}
    async with database.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(SolveInput)) == 0
        assert await tx.scalar(select(func.count()).select_from(Entry)) == 2
    assert await balances(database, claim) == {"tenant": 30, "provider": -30}
    assert await levels(database, payer) == [(30, 0), (30, 0)]
    await assert_books_hold(database)


async def test_texts_are_kept_unless_they_are_to_be_erased(database: Database) -> None:
    """The solve's own, and its calls'."""
    ledger = Ledger(database)
    payer = await account(database)
    claim = await ledger.hold(opening(payer, 100))
    await call(ledger, claim, answered(30), max_cost=70)
    await ledger.finish(claim, ending())
    kept = await Records(database).texts(claim.solve_id)
    assert kept == {"call:gate.first": "391", "answer": "391"}
    found = await Records(database).solve(payer.tenant_id, claim.solve_id)
    assert found is not None
    assert found.request == {"input": "What is 17 * 23?"}


async def test_result_that_no_database_takes_ends_the_solve_all_the_same(
    database: Database,
) -> None:
    """A hold would otherwise never be freed for what a provider wrote in an error."""
    ledger = Ledger(database)
    payer = await account(database)
    claim = await ledger.hold(opening(payer, 100))
    odd = "\0 and \ud83d"
    result = {"error": {"detail": odd}, "items": [odd, 1, None, True, 0.5], odd: "key"}
    await ledger.finish(
        claim,
        Ending(state="failed", route=None, result=result, texts={"answer": odd}),
    )
    assert await levels(database, payer) == [(0, 0), (0, 0)]
    found = await Records(database).solve(payer.tenant_id, claim.solve_id)
    assert found is not None
    assert found.result is not None
    kept = "\N{REPLACEMENT CHARACTER} and \N{REPLACEMENT CHARACTER}"
    assert found.result["items"] == [kept, 1, None, True, 0.5]
    assert await Records(database).texts(claim.solve_id) == {"answer": kept}


async def test_what_a_search_was_told_is_noted_with_the_current_token_alone(
    database: Database,
) -> None:
    """A score rides along with the next decision; a zombie's changes nothing."""
    ledger = Ledger(database)
    claim = await ledger.hold(opening(await account(database), 100))
    made = intent(claim, "t1", max_cost=10, trial=TrialPlace(ask=1, parent=0, asked_seq=1))
    await ledger.intend(claim, made, grow=nano(0))
    await ledger.settle_call(claim, made, answered(10))
    with pytest.raises(ClaimLost):
        await ledger.finish(
            stale(claim), ending(), loose=Loose(told=[Told(made.call_id, 2, score=0.1)])
        )
    with pytest.raises(ClaimLost):
        await ledger.intend(
            stale(claim),
            intent(claim, "t2", max_cost=10),
            grow=nano(0),
            told=[Told(made.call_id, 2, score=0.1)],
        )
    assert (await Records(database).calls(claim.solve_id))[0].told_seq is None
    await ledger.finish(claim, ending(), loose=Loose(told=[Told(made.call_id, 2, score=0.75)]))
    found = (await Records(database).calls(claim.solve_id))[0]
    assert (found.told_seq, found.score) == (2, 0.75)
    await assert_books_hold(database)


async def begun(ledger: Ledger, payer: Account) -> tuple[Claim, Intent]:
    """A solve whose first call, at most 70, was journalled with its hold of 100."""
    named = Claim(solve_id(), payer, token=1)
    first = intent(named, max_cost=70)
    claim = await ledger.hold(opening(payer, 100, solve=named.solve_id, first=first))
    return claim, first


async def test_a_first_call_is_journalled_with_the_hold(database: Database) -> None:
    """Its worst case is drawn before anything can be sent; its outcome is booked as any other."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100))
    claim, first = await begun(ledger, payer)
    assert await call_states(database, claim) == {"gate.first": "intent"}
    assert await solve_row(database, claim) == (100, 0, 70, "in_progress")
    await assert_books_hold(database)
    await ledger.settle_call(claim, first, answered(30))
    assert await solve_row(database, claim) == (100, 30, 0, "in_progress")
    await ledger.finish(claim, ending())
    await assert_books_hold(database)


async def test_a_call_that_was_not_made_waits_in_no_suspense(database: Database) -> None:
    """Whoever left before it was sent owes nothing, and no provider can have charged for it."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100))
    claim, first = await begun(ledger, payer)
    await ledger.finish(claim, ending("cancelled"), loose=Loose(unmade=first))
    assert await call_states(database, claim) == {"gate.first": "cancelled"}
    assert await balances(database, claim) == {}
    assert await levels(database, payer) == [(0, 0), (0, 0)]
    await assert_books_hold(database)


async def test_the_last_outcome_is_written_down_with_the_finish(database: Database) -> None:
    """One transaction, and the same rows as two would have left."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100))
    claim, first = await begun(ledger, payer)
    await ledger.finish(claim, ending(), loose=Loose(outcome=(first, answered(30))))
    assert await call_states(database, claim) == {"gate.first": "ok"}
    assert await levels(database, payer) == [(30, 0), (30, 0)]
    assert await solve_row(database, claim) == (30, 30, 0, "completed")
    assert await Records(database).texts(claim.solve_id) == {
        "answer": "391",
        "call:gate.first": "391",
    }
    await assert_books_hold(database)


async def test_an_outcome_is_kept_though_the_solve_is_lost(database: Database) -> None:
    """The decision to end is refused to a process that was replaced; what it paid for is a fact."""
    ledger = Ledger(database)
    payer = await account(database, limit=nano(100))
    claim, first = await begun(ledger, payer)
    with pytest.raises(ClaimLost):
        await ledger.finish(stale(claim), ending(), loose=Loose(outcome=(first, answered(30))))
    assert await call_states(database, claim) == {"gate.first": "ok"}
    assert await solve_row(database, claim) == (100, 30, 0, "in_progress")
    await assert_books_hold(database)
