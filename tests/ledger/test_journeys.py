"""How many statements a solve's money costs: what a tenant does not use must not be paid for."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from app.db.engine import Database
from app.ids import solve_id
from app.ledger.journal import Intent
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from tests.backends import account
from tests.ledger.books import answered, call, ending, intent, nano, opening


@contextmanager
def counted() -> Generator[list[str]]:
    """The tables that statements began with, in their order: what is sent to the database."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: Any) -> None:  # noqa: ANN401
        if not statement.startswith(("BEGIN", "PRAGMA", "SELECT pg_", "select pg_", "show ")):
            sent.append(" ".join(statement.split()[:3]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_solve_of_a_plain_tenant_costs_as_few_statements_as_ever(database: Database) -> None:
    """One look for the budgets, and an update of them when it begins and when it ends."""
    ledger, payer = Ledger(database), await account(database)
    await ledger.hold(opening(payer, 10))  # its period is open from here on
    made = solve_id()
    first = _first(Claim(made, payer, 1))
    with counted() as held:
        claim = await ledger.hold(opening(payer, 100, solve=made, first=first))
    with counted() as called:
        await ledger.settle_call(claim, first, answered(30))
    with counted() as grown:
        await call(ledger, claim, answered(30), op="t1", max_cost=100, grow=50)
    with counted() as ended:
        await ledger.finish(claim, ending())
    assert (len(held), len(called), len(grown), len(ended)) == (5, 5, 8, 5), (
        held,
        called,
        grown,
        ended,
    )


def _first(claim: Claim) -> Intent:
    return intent(claim, max_cost=nano(70))
