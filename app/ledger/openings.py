"""Solves that start: their rows, what a run needs after a crash, their first call, their holds.

All or none of them: where one does not fit, the CHECK that says so undoes the whole transaction.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from app.db.clock import Clock
from app.db.engine import WriteTx, is_duplicate
from app.ids import SolveId
from app.ledger import journal, limits
from app.ledger.budgets import Account, paths, reserve, whose
from app.ledger.cancelling import RUNNING
from app.ledger.idempotency import IdempotencyKey, remember
from app.ledger.inheritance import Inheritance, bequeath
from app.ledger.journal import Intent, OpenCall
from app.ledger.limits import OverLimit, Window
from app.ledger.quotas import Quota, Unit, tightest
from app.ledger.retention import keep_texts
from app.ledger.tables import Solve, SolveInput
from app.money import NanoUSD

# Written once and executed with the facts of each solve: to build a statement anew costs several
# times what it costs to run.
_OPEN: Final = insert(Solve).values(created_at=Clock())
_KEEP_INPUT: Final = insert(SolveInput)


@dataclass(frozen=True, slots=True)
class Queue:
    """Where solves wait for whoever takes them; until then its name is their owner's.

    `add` puts them there, within the transaction that opens them.
    """

    name: str
    add: Callable[[WriteTx, Sequence[SolveId]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Opening:
    """A solve about to start: who pays, the most it may ever cost, and what it holds at first.

    `first` is the call it starts with, where that is known: it is journalled with the hold.
    `is_deep` says that it may make more calls than one; `tokens_max` are those that its first one
    may use. `inheritance` is what it starts from, where an earlier solve has gone before. With a
    `queue`, its name is the `owner`, and there is no `first`: whoever takes the solve begins.
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
    cost_center: str | None = None
    is_deep: bool = False
    inheritance: Inheritance | None = None
    tokens_max: int = 0
    queue: Queue | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to decide for a solve, until somebody with a higher token takes it.

    `quotas` are the tightest there were when it was admitted, its own hold not counted.
    """

    solve_id: SolveId
    account: Account
    token: int
    quotas: tuple[Quota, ...] = ()

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


@dataclass(frozen=True, slots=True)
class Opened:
    """A solve with the budgets that it draws on and the windows that it counts in."""

    opening: Opening
    budgets: Sequence[str] = ()
    windows: Sequence[Window] = ()


class SolveExists(Exception):
    """A solve's id was given beforehand, and is taken; the transaction that found out is undone."""


async def open_together(tx: WriteTx, openings: Sequence[Opening]) -> Sequence[tuple[Quota, ...]]:
    """Open solves and hold their first amounts on every budget; of each, the tightest quotas.

    Raises DoesNotFit, RaiseEnded, LadderReached, OverLimit, KeyTaken or SolveExists.
    """
    accounts = dict.fromkeys(opening.account for opening in openings)
    found = await paths(tx, accounts)
    for opening in openings:
        ladder = found[opening.account].ladder
        if ladder is not None and opening.is_deep:
            raise ladder
    budgets = {account: path.budgets for account, path in found.items()}
    bounded = [account for account, path in found.items() if path.is_limited]
    windows = await limits.windows(tx, [whose(account) for account in bounded])
    limited = dict(zip(bounded, windows, strict=True))
    counts = _counts(openings, limited)
    opened = [
        Opened(opening, budgets[opening.account], limited.get(opening.account, ()))
        for opening in openings
    ]
    await write_down(tx, opened)
    held = Counter[str]()
    for opening in openings:
        held.update(dict.fromkeys(budgets[opening.account], opening.first_hold))
    await reserve(tx, {budget: NanoUSD(amount) for budget, amount in held.items()})
    if counts:
        await limits.take(tx, counts)
    await _enqueue(tx, openings)
    return [
        found[opening.account].quotas + _left(opening, limited.get(opening.account, ()))
        for opening in openings
    ]


async def write_down(tx: WriteTx, opened: Sequence[Opened]) -> None:
    """The rows of these solves, their keys, what they inherit, their first calls.

    Raises KeyTaken or SolveExists.
    """
    try:
        await tx.execute(_OPEN, [_row(one.opening, one.budgets, one.windows) for one in opened])
    except IntegrityError as error:
        if is_duplicate(error):
            raise SolveExists from error
        raise
    openings = [one.opening for one in opened]
    await tx.execute(_KEEP_INPUT, [_input(opening) for opening in openings])
    for opening in openings:
        if opening.idempotency is not None:
            tenant_id = opening.account.tenant_id
            await remember(tx, tenant_id, opening.idempotency, opening.solve_id)
    heirs = [(one.solve_id, one.inheritance) for one in openings if one.inheritance is not None]
    await bequeath(tx, heirs)
    await keep_texts(tx, [(solve_id, inheritance.texts) for solve_id, inheritance in heirs])
    firsts = [(one.solve_id, one.first) for one in openings if one.first is not None]
    if firsts:
        await journal.begin(tx, firsts)


async def _enqueue(tx: WriteTx, openings: Sequence[Opening]) -> None:
    waiting: dict[Queue, list[SolveId]] = {}
    for opening in openings:
        if opening.queue is not None:
            waiting.setdefault(opening.queue, []).append(opening.solve_id)
    for queue, solve_ids in waiting.items():
        await queue.add(tx, solve_ids)


def _input(opening: Opening) -> dict[str, object]:
    inheritance = opening.inheritance
    return {
        "solve_id": opening.solve_id,
        "request": opening.request,
        "plan": opening.plan,
        "inherited": None if inheritance is None else inheritance.document,
    }


def _counts(
    openings: Sequence[Opening], limited: Mapping[Account, Sequence[Window]]
) -> Mapping[str, int]:
    """What the solves count for in each window."""
    counts = Counter[str]()
    for opening in openings:
        for window in limited.get(opening.account, ()):
            if window.unit is Unit.TOKENS and window.quota.left < opening.tokens_max:
                # Its first call may yet have to be journalled, and would be refused then.
                raise OverLimit
            counts[window.id] += _count(opening, window)
    return counts


def _count(opening: Opening, window: Window) -> int:
    if window.unit is Unit.TOKENS:
        return 0 if opening.first is None else opening.first.max_tokens
    return 1


def _left(opening: Opening, windows: Sequence[Window]) -> tuple[Quota, ...]:
    return tightest(window.quota.after(_count(opening, window)) for window in windows)


def _by_unit(windows: Sequence[Window]) -> Mapping[str, Sequence[str]] | None:
    if not windows:
        return None
    return {unit: [window.id for window in windows if window.unit is unit] for unit in Unit}


def _row(opening: Opening, budgets: Sequence[str], windows: Sequence[Window]) -> dict[str, object]:
    inheritance = opening.inheritance
    return {
        "id": opening.solve_id,
        "tenant_id": opening.account.tenant_id,
        "org_id": opening.account.org_id,
        "project_id": opening.account.project_id,
        "key_id": opening.account.key_id,
        "session": opening.account.session,
        "state": RUNNING,
        "token": 1,
        "owner": opening.owner,
        "cost_center": opening.cost_center,
        "budgets": budgets,
        "limits": _by_unit(windows),
        "cap": opening.cap,
        "hold": opening.first_hold,
        "inflight": 0 if opening.first is None else opening.first.max_cost,
        "resumed_from": None if inheritance is None else inheritance.resumed_from,
        "replay_of": None if inheritance is None else inheritance.replay_of,
    }
