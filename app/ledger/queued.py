"""Solves that wait in a queue: who may run one, and which are there.

Their owner is the queue. It counts as a replica that lives for as long as a process that serves it
says so: while it does, nobody claims them; once it does not, they are anybody's, like those of a
dead replica.
"""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import bindparam, select, update

from app.db.engine import Database, WriteTx
from app.ids import KeyId, SolveId, TenantId
from app.ledger.budgets import Account
from app.ledger.cancelling import LIVE
from app.ledger.leases import ALIVE, Leases
from app.ledger.openings import Claim
from app.ledger.refusals import ClaimLost
from app.ledger.tables import Solve

# Written once: to build a statement anew costs several times what it costs to run.
_WAITING: Final = select(Solve.id).where(
    Solve.state.in_(LIVE), Solve.completed_at.is_(None), Solve.owner == bindparam("queue")
)
_TAKE: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"), Solve.owner == bindparam("queue"))
    .where(Solve.state.in_(LIVE))
    .values(token=Solve.token + 1, owner=bindparam("taker"))
    .returning(Solve.tenant_id, Solve.key_id, Solve.token)
)


class Queued:
    """A queue, for a replica that serves it."""

    def __init__(self, database: Database, *, queue: str, replica: str, lease_s: float) -> None:
        self._db, self._queue, self._replica, self.lease_s = database, queue, replica, lease_s
        self._lease = Leases(database, replica=queue, lease_s=lease_s)

    async def beat(self) -> None:
        """Say that the queue is served."""
        await self._lease.beat()

    async def take(self, solve_id: SolveId) -> Claim:
        """The right to decide for a solve that waits here; nothing of it is in flight.

        Raises ClaimLost where somebody else has taken it, now or long ago.
        """

        async def work(tx: WriteTx) -> Claim:
            facts = {"solve": solve_id, "queue": self._queue, "taker": self._replica}
            row = (await tx.execute(_TAKE, facts)).one_or_none()
            if row is None:
                raise ClaimLost(f"solve {solve_id} does not wait any more")
            return Claim(solve_id, Account(TenantId(row[0]), KeyId(row[1])), row[2])

        return await self._db.write(work)

    async def waiting(self) -> Sequence[SolveId]:
        """The solves that nobody has taken yet."""
        async with self._db.glance() as tx:
            found = await tx.scalars(_WAITING, {"queue": self._queue})
            return [SolveId(solve_id) for solve_id in found.all()]

    async def living(self) -> Collection[str]:
        """The replicas that have been seen within a lease, and this one."""
        async with self._db.glance() as tx:
            seen = (await tx.scalars(ALIVE, {"lease_s": self.lease_s})).all()
        return {self._replica, *seen}
