"""Solves that somebody has asked to end, wherever they run.

The mark is the solve's state. From then on no intent of it is accepted, so that its runner learns
of it with its next call; one that waits for a call learns of it with its replica's next heartbeat.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, select, update

from app.db.engine import ReadTx, WriteTx
from app.ids import SolveId
from app.ledger.tables import Solve

RUNNING: Final = "in_progress"

CANCELLING: Final = "cancelling"
"""The state of a solve that is to end; whoever reads about it is told that it is in progress."""

LIVE: Final = (RUNNING, CANCELLING)
"""The states of a solve that has not ended: it holds money, and somebody must finish it."""

_MARKED: Final = select(Solve.id).where(
    Solve.state == CANCELLING, Solve.completed_at.is_(None), Solve.owner == bindparam("replica")
)


async def mark(tx: WriteTx, solve_id: SolveId) -> None:
    """Ask for the end of a solve; harmless where it has ended."""
    await tx.execute(
        update(Solve).where(Solve.id == solve_id, Solve.state == RUNNING).values(state=CANCELLING)
    )


async def marked(tx: ReadTx, owner: str) -> Sequence[SolveId]:
    """The solves of this replica that are to end."""
    found = await tx.scalars(_MARKED, {"replica": owner})
    return [SolveId(solve_id) for solve_id in found.all()]


async def is_marked(tx: ReadTx, solve_id: SolveId, *, token: int) -> bool:
    """Whether the solve is to end and this token still decides for it."""
    query = select(Solve.state).where(Solve.id == solve_id, Solve.token == token)
    return await tx.scalar(query) == CANCELLING
