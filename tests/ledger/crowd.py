"""One of several processes that hold money of one tenant at once.

    python -m tests.ledger.crowd DATABASE_URL TENANT KEY SOLVES

Waits for a line, begins all its solves at once, ends those that were admitted, and prints how many
those were.
"""

import asyncio
import sys

from app.db.engine import Database
from app.ids import KeyId, TenantId
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.refusals import BudgetExceeded
from tests.ledger.books import answered, call, ending, opening

HOLD = 30
"""Nano-dollars of each solve."""
COST = 20
"""Of its one call."""


async def main(database_url: str, payer: Account, solves: int) -> int:
    """How many were admitted."""
    database = Database(database_url)
    ledger = Ledger(database)

    async def solve() -> bool:
        try:
            claim = await ledger.hold(opening(payer, HOLD))
        except BudgetExceeded:
            return False
        await call(ledger, claim, answered(COST), max_cost=HOLD)
        await ledger.finish(claim, ending())
        return True

    admitted = await asyncio.gather(*(solve() for _ in range(solves)))
    await database.aclose()
    return sum(admitted)


if __name__ == "__main__":
    url, tenant, key, count = sys.argv[1:]
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this
    sys.stdin.readline()
    paying = Account(TenantId(tenant), KeyId(key))
    print(asyncio.run(main(url, paying, int(count))), flush=True)  # noqa: T201 - its result
