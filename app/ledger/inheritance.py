"""What a solve starts from that an earlier one paid for: nodes of its tree, named by their calls.

The calls stay where they are, with their cost: an heir is charged for its own alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert

from app.db.engine import WriteTx
from app.ids import SolveId
from app.ledger.tables import InheritedNode


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Of which solve, and what: exactly one of `resumed_from` and `replay_of` is set.

    `calls` are the ids of the calls behind the first nodes, in order; `document` is what a run
    needs beside them after a crash; `texts` are copies, for the earlier solve's may be erased.
    """

    calls: Sequence[str]
    document: Mapping[str, Any]
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    resumed_from: SolveId | None = None
    replay_of: SolveId | None = None


async def bequeath(tx: WriteTx, heirs: Sequence[tuple[SolveId, Inheritance]]) -> None:
    """Write down which calls are behind the first nodes of these solves."""
    rows = [
        {"solve_id": solve_id, "node": node, "call_id": call_id}
        for solve_id, inheritance in heirs
        for node, call_id in enumerate(inheritance.calls, start=1)
    ]
    if rows:
        await tx.execute(insert(InheritedNode), rows)
