from app.db.engine import Database
from app.ids import solve_id
from app.ledger.ledger import Ledger
from app.ledger.records import Records
from tests.backends import account
from tests.ledger.books import answered, call, ending, opening


async def test_solve_is_read_by_its_own_tenant_alone(database: Database) -> None:
    """To another it does not exist, as one of no id does not."""
    ledger, records = Ledger(database), Records(database)
    owner, another = await account(database), await account(database)
    claim = await ledger.hold(opening(owner, 100))
    assert (await records.solve(owner.tenant_id, claim.solve_id)) is not None
    assert (await records.solve(another.tenant_id, claim.solve_id)) is None
    assert (await records.solve(owner.tenant_id, solve_id())) is None


async def test_what_a_tenant_was_charged_is_what_its_calls_cost(database: Database) -> None:
    """From live solves and ended ones, and from no other tenant's."""
    ledger, records = Ledger(database), Records(database)
    owner, another = await account(database), await account(database)
    for payer, billed in ((owner, 30), (another, 50)):
        claim = await ledger.hold(opening(payer, 100))
        await call(ledger, claim, answered(billed), op="t1", max_cost=70)
        await ledger.finish(claim, ending())
        live = await ledger.hold(opening(payer, 100))
        await call(ledger, live, answered(1), max_cost=70)
    assert await records.charged(owner.tenant_id) == 31
    assert await records.charged(another.tenant_id) == 51


async def test_calls_are_read_in_the_order_of_their_intents(database: Database) -> None:
    """With what became of them."""
    ledger, records = Ledger(database), Records(database)
    claim = await ledger.hold(opening(await account(database), 100))
    for op in ("gate.first", "gate.second"):
        await call(ledger, claim, answered(10), op=op, max_cost=20)
    found = await records.calls(claim.solve_id)
    assert [(one.op, one.attempt, one.cost) for one in found] == [
        ("gate.first", 1, 10),
        ("gate.second", 1, 10),
    ]
