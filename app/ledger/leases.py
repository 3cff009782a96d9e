"""Who runs which solve: one heartbeat a replica, and claims on what a dead replica left.

A solve belongs to the replica named in its row. A replica that has not been seen for a lease is
dead to the others: whoever claims its solve raises the token, and from then on the dead one's
decisions are refused, should it turn out to be only slow.

A run that loses the database ends where it is, and leaves its solve to whoever has the database
again: its own replica, as a rule, which has never been silent for a lease.
"""

from collections.abc import Container, Sequence
from typing import Final

from sqlalchemy import Executable, Float, and_, bindparam, delete, or_, select, update
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

# Written once: to build a statement anew costs several times what it costs to run.
_BEAT: Final = (
    upsert(Replica)
    .values(id=bindparam("replica"), seen_at=Clock())
    .on_conflict_do_update(index_elements=["id"], set_={"seen_at": Clock()})
)
_LEAVE: Final = delete(Replica).where(Replica.id == bindparam("replica"))
_IS_MINE: Final = Solve.owner == bindparam("replica")
ALIVE: Final = select(Replica.id).where(Replica.seen_at > Ago(bindparam("lease_s", type_=Float())))
_MINE: Final = select(Solve.id).where(Solve.state.in_(LIVE), _IS_MINE)
_LEFT: Final = (
    select(Solve.id)
    .where(
        Solve.state.in_(LIVE),
        or_(
            and_(_IS_MINE, Solve.id.in_(bindparam("lost", expanding=True))),
            # Whoever can ask lives, however late its own beat may be.
            and_(~_IS_MINE, Solve.owner.not_in(ALIVE)),
        ),
    )
    .order_by(Solve.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
# By name: with the query above as its subquery, that may be run once for every row that it is
# joined to, and each time find as many more.
_TAKE: Final = (
    update(Solve)
    .where(Solve.id.in_(bindparam("solves", expanding=True)))
    .values(token=Solve.token + 1, owner=bindparam("taker"))
    .returning(Solve.id, Solve.tenant_id, Solve.key_id, Solve.token)
)


class Leases:
    """This replica's lease, and what others left."""

    def __init__(self, database: Database, *, replica: str, lease_s: float = LEASE_S) -> None:
        self._db, self._replica, self.lease_s = database, replica, lease_s

    async def beat(self) -> None:
        """Say that this replica lives."""
        await self._execute(_BEAT)

    async def leave(self) -> None:
        """Give up the lease at once: what is still running here is anybody's."""
        await self._execute(_LEAVE)

    async def to_cancel(self) -> Sequence[SolveId]:
        """The solves of this replica that somebody has asked to end."""
        async with self._db.glance() as tx:
            return await marked(tx, self._replica)

    async def claim(self, *, most: int, running: Container[SolveId]) -> Sequence[Claim]:
        """Take over up to `most` running solves that nobody runs, oldest first.

        They are those of replicas that are dead, and this one's that are not in `running`: it must
        have a solve from before the ledger does until its run has ended. Their open calls become
        orphans: they may have happened, so their worst case waits in suspense, and the tenant pays
        nothing for them.
        """

        async def work(tx: WriteTx) -> Sequence[Claim]:
            left = await self._without_a_runner(tx, most, running)
            if not left:
                return []
            taken = (await tx.execute(_TAKE, {"solves": left, "taker": self._replica})).all()
            await journal.orphan_open(tx, left)
            return [
                Claim(SolveId(row[0]), Account(TenantId(row[1]), KeyId(row[2])), row[3])
                for row in sorted(taken)
            ]

        return await self._db.write(work)

    async def _without_a_runner(
        self, tx: WriteTx, most: int, running: Container[SolveId]
    ) -> Sequence[SolveId]:
        mine = (await tx.scalars(_MINE, {"replica": self._replica})).all()
        # Looked up after the query: what that has seen, this process knew of before.
        lost = [solve_id for solve_id in mine if SolveId(solve_id) not in running]
        facts = {"replica": self._replica, "lost": lost, "lease_s": self.lease_s, "most": most}
        return [SolveId(solve_id) for solve_id in (await tx.scalars(_LEFT, facts)).all()]

    async def _execute(self, statement: Executable) -> None:
        async def work(tx: WriteTx) -> None:
            await tx.execute(statement, {"replica": self._replica})

        await self._db.write(work)
