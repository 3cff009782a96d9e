"""Who runs which solve: one heartbeat a replica, and claims on what a dead replica left.

A solve belongs to the replica named in its row. A replica that has not been seen for a lease is
dead to the others: whoever claims its solve raises the token, and from then on the dead one's
decisions are refused, should it turn out to be only slow.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Executable, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Ago, Clock
from app.db.engine import Database, WriteTx
from app.ids import KeyId, SolveId, TenantId
from app.ledger import journal
from app.ledger.budgets import Account
from app.ledger.cancelling import LIVE, marked
from app.ledger.openings import Claim
from app.ledger.tables import Replica, Solve

LEASE_S: Final = 10.0
"""How long a replica may be silent before its solves are taken over."""


class Leases:
    """This replica's lease, and what others left."""

    def __init__(self, database: Database, *, replica: str, lease_s: float = LEASE_S) -> None:
        self._db, self._replica, self.lease_s = database, replica, lease_s

    async def beat(self) -> None:
        """Say that this replica lives."""
        beat = upsert(Replica).values(id=self._replica, seen_at=Clock())
        await self._execute(
            beat.on_conflict_do_update(index_elements=["id"], set_={"seen_at": Clock()})
        )

    async def leave(self) -> None:
        """Give up the lease at once: what is still running here is anybody's."""
        await self._execute(delete(Replica).where(Replica.id == self._replica))

    async def to_cancel(self) -> Sequence[SolveId]:
        """The solves of this replica that somebody has asked to end."""
        async with self._db.glance() as tx:
            return await marked(tx, self._replica)

    async def claim(self, *, most: int) -> Sequence[Claim]:
        """Take over up to `most` running solves of replicas that are dead, oldest first.

        Their open calls become orphans: they may have happened, so their worst case waits in
        suspense, and the tenant pays nothing for them.
        """

        async def work(tx: WriteTx) -> Sequence[Claim]:
            alive = select(Replica.id).where(Replica.seen_at > Ago(self.lease_s))
            # Read first and updated by name: as a subquery of the update it may be run once for
            # every row that it is joined to, and each time find `most` more.
            left = await tx.scalars(
                select(Solve.id)
                .where(Solve.state.in_(LIVE), Solve.owner.not_in(alive))
                # Whoever can ask lives, however late its own beat may be.
                .where(Solve.owner != self._replica)
                .order_by(Solve.id)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            taken = await tx.execute(
                update(Solve)
                .where(Solve.id.in_(left.all()))
                .values(token=Solve.token + 1, owner=self._replica)
                .returning(Solve.id, Solve.tenant_id, Solve.key_id, Solve.token)
            )
            claims = [
                Claim(SolveId(row[0]), Account(TenantId(row[1]), KeyId(row[2])), row[3])
                for row in sorted(taken.all())
            ]
            if claims:
                await journal.orphan_open(tx, [claim.solve_id for claim in claims])
            return claims

        return await self._db.write(work)

    async def _execute(self, statement: Executable) -> None:
        async def work(tx: WriteTx) -> None:
            await tx.execute(statement)

        await self._db.write(work)
