"""What must hold when all is over: the ledger's own invariants, and those it cannot see alone.

The provider's list of charges is the truth that the journal is held against; what a client was told
is held against the row; and both copies of a search, log and journal, against each other.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.db.engine import Database
from app.ids import SolveId
from app.ledger.invariants import check
from app.solve.archive import Archive
from app.solve.engine import nodes_of, settings_of
from app.solve.past import plan_from
from app.solve.report import Solved
from app.solve.request import request_from
from app.solve.tree import node_calls, nodes, rebuild, reopen
from app.store.treelog import TreeLog
from app.tenants.directory import Tenant
from tests.simulation.upstream import Charge

PROBLEM: Final = "problem"
"""The metadata that names a submission: it stays when the texts are erased."""

CALLS: Final = """
SELECT call.id, json_extract(solve.result, '$.metadata.problem'), call.op, call.state,
  call.cost, call.max_cost, call.late_cost, call.provider_request_id,
  (SELECT coalesce(sum(amount), 0) FROM entry WHERE call_id = call.id AND account = 'suspense'),
  (SELECT coalesce(sum(amount), 0) FROM entry WHERE call_id = call.id AND account = 'platform_loss')
FROM call JOIN solve ON solve.id = call.solve_id ORDER BY call.id
"""


@dataclass(frozen=True, slots=True)
class Booked:
    """A row of the journal, with what was posted for it."""

    id: str
    problem: str
    op: str
    state: str
    cost: int
    max_cost: int
    late_cost: int | None
    request_id: str | None
    suspense: int
    loss: int


def provider_broken(raw: sqlite3.Connection, charges: Sequence[Charge]) -> Iterator[str]:
    """Every charge has a call row of its own, and is paid for, borne or waited for there."""
    rows = [Booked(*row) for row in raw.execute(CALLS)]
    named = {charge.id: charge for charge in charges}
    heard = Counter(row.request_id for row in rows if row.request_id is not None)
    yield from (f"{one} is booked {n} times" for one, n in heard.items() if n > 1)
    unheard: defaultdict[tuple[str, str], list[Charge]] = defaultdict(list)
    for charge in charges:
        if charge.id not in heard:
            unheard[charge.problem, charge.op].append(charge)
    free: defaultdict[tuple[str, str], list[Booked]] = defaultdict(list)
    for row in rows:
        if row.request_id is None:
            free[row.problem, row.op].append(row)
            continue
        own = named.get(row.request_id)
        if own is None or (own.problem, own.op) != (row.problem, row.op):
            yield f"{row.id} was never charged as {row.request_id}"
        elif not _is_paid(row, own):
            yield f"{row} does not account for {own}"
    for place, missed in unheard.items():
        yield from _unmatched(missed, free[place])
    for row in [row for left in free.values() for row in left]:
        if row.cost or row.loss:
            yield f"{row} costs something that nobody charged for"


def _is_paid(row: Booked, charge: Charge) -> bool:
    if row.late_cost is not None:
        return row.late_cost == row.loss == charge.amount and not row.cost and not row.suspense
    if row.suspense:  # an answer whose provider reported no usage
        return row.cost + row.suspense == row.max_cost >= charge.amount
    return row.cost + row.loss == charge.amount


def _unmatched(charges: Iterable[Charge], rows: list[Booked]) -> Iterator[str]:
    """Charges that were not heard of: paid by a failed call, or at their worst case in suspense."""
    waiting: list[Charge] = []
    for charge in charges:
        paid = next((row for row in rows if 0 < row.cost + row.loss == charge.amount), None)
        if paid is None:
            waiting.append(charge)
        else:
            rows.remove(paid)
    for charge in sorted(waiting, key=lambda one: -one.amount):
        row = next((row for row in rows if row.suspense >= min(charge.amount, row.max_cost)), None)
        if row is None:
            yield f"nothing in the journal can be {charge}"
        else:
            rows.remove(row)


def answers_broken(raw: sqlite3.Connection, results: Sequence[Solved]) -> Iterator[str]:
    """What a client was told is what is kept."""
    kept = {
        row[0]: tuple(row[1:]) for row in raw.execute("SELECT id, state, posted, result FROM solve")
    }
    for solved in results:
        state, posted, _ = kept[solved.id]
        if (solved.status, solved.spent) != (state, posted):
            yield f"{solved.id} was told {solved.status} {solved.spent}, kept {state} {posted}"
    for solve_id, (_, posted, result) in kept.items():
        lines = json.loads(result)["calls"]
        if sum(line["cost"] for line in lines) != posted:
            yield f"{solve_id} posted {posted}, its bill says otherwise"


def keys_broken(raw: sqlite3.Connection) -> Iterator[str]:
    """One key is worth one solve."""
    query = """SELECT json_extract(result, '$.metadata.key') AS name, count(*) FROM solve
               WHERE state != 'cancelled' AND name IS NOT NULL GROUP BY name HAVING count(*) > 1"""
    yield from (f"{key} was solved {n} times" for key, n in raw.execute(query))


async def books_broken(database: Database) -> Sequence[str]:
    """The ledger's own rules."""
    found = await check(database)
    return [f"{one.name}: {one.detail}" for one in found if not one.holds]


async def trees_broken(
    archive: Archive, tree_log: TreeLog, tenant: Tenant, solve_ids: Sequence[SolveId]
) -> Sequence[str]:
    """A tree reads the same from its log and from the journal, and its nodes were paid for."""
    broken: list[str] = []
    for solve_id in solve_ids:
        found = await archive.find(tenant, solve_id)
        if found.record.request is None or found.record.plan is None:
            continue
        request = request_from(found.record.request)
        try:
            logged = await reopen(tree_log, found.record, found.calls)
            if logged is None:
                continue
            behind = node_calls(logged, found.calls)
            nodes(logged, request, behind, found.texts, of=found.record.id)
            settings = settings_of(request, plan_from(found.record.plan), found.calls)
            journalled = rebuild(settings, found.calls)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            broken.append(f"the tree of {solve_id}: {error!r}")
            continue
        pairs = zip(nodes_of(logged), nodes_of(journalled), strict=False)
        if any(one != other for one, other in pairs):
            broken.append(f"the log of {solve_id} is not its journal")
    return broken
