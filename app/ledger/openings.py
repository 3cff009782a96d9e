"""Solves that start: their rows, what a run needs after a crash, their first call, their holds.

All or none of them: where one does not fit, the CHECK that says so undoes the whole transaction.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert

from app.db.clock import Clock
from app.db.engine import WriteTx
from app.ids import SolveId
from app.ledger import journal
from app.ledger.budgets import Account, path, reserve
from app.ledger.cancelling import RUNNING
from app.ledger.idempotency import IdempotencyKey, remember
from app.ledger.journal import Intent, OpenCall
from app.ledger.tables import Solve, SolveInput
from app.money import NanoUSD

# Written once and executed with the facts of each solve: to build a statement anew costs several
# times what it costs to run.
_OPEN: Final = insert(Solve).values(created_at=Clock())
_KEEP_INPUT: Final = insert(SolveInput)


@dataclass(frozen=True, slots=True)
class Opening:
    """A solve about to start: who pays, the most it may ever cost, and what it holds at first.

    `first` is the call it starts with, where that is known: it is journalled with the hold.
    """

    solve_id: SolveId
    account: Account
    cap: NanoUSD
    first_hold: NanoUSD
    request: Mapping[str, Any]
    plan: Mapping[str, Any]
    owner: str
    first: Intent | None = None
    idempotency: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to decide for a solve, until somebody with a higher token takes it."""

    solve_id: SolveId
    account: Account
    token: int

    def call_of(self, intent: Intent) -> OpenCall:
        """The intent as its outcome needs it."""
        return OpenCall(
            id=intent.call_id,
            solve_id=self.solve_id,
            tenant_id=self.account.tenant_id,
            op=intent.op,
            provider=intent.provider,
            price_version=intent.price_version,
            max_cost=intent.max_cost,
        )


async def open_together(tx: WriteTx, openings: Sequence[Opening]) -> None:
    """Open solves and hold their first amounts on every budget. Raises DoesNotFit or KeyTaken."""
    accounts = dict.fromkeys(opening.account for opening in openings)
    budgets = {account: await path(tx, account) for account in accounts}
    await tx.execute(_OPEN, [_row(opening, budgets[opening.account]) for opening in openings])
    await tx.execute(
        _KEEP_INPUT,
        [
            {"solve_id": opening.solve_id, "request": opening.request, "plan": opening.plan}
            for opening in openings
        ],
    )
    for opening in openings:
        if opening.idempotency is not None:
            tenant_id = opening.account.tenant_id
            await remember(tx, tenant_id, opening.idempotency, opening.solve_id)
    firsts = [(one.solve_id, one.first) for one in openings if one.first is not None]
    if firsts:
        await journal.begin(tx, firsts)
    held = Counter[str]()
    for opening in openings:
        held.update(dict.fromkeys(budgets[opening.account], opening.first_hold))
    await reserve(tx, {budget: NanoUSD(amount) for budget, amount in held.items()})


def _row(opening: Opening, budgets: Sequence[str]) -> dict[str, object]:
    return {
        "id": opening.solve_id,
        "tenant_id": opening.account.tenant_id,
        "project_id": opening.account.project_id,
        "key_id": opening.account.key_id,
        "state": RUNNING,
        "token": 1,
        "owner": opening.owner,
        "budgets": budgets,
        "cap": opening.cap,
        "hold": opening.first_hold,
        "inflight": 0 if opening.first is None else opening.first.max_cost,
    }
