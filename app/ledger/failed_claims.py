"""Claims of solves that ended by a bug, so that every replica knows how often that has happened.

Only who has failed writes here. A replica that is killed writes nothing, so that however often that
happens to a solve, it is not held against it.
"""

from typing import Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.ledger.cancelling import LIVE
from app.ledger.openings import Claim
from app.ledger.postings import CallState
from app.ledger.tables import Call, FailedClaim, Solve

_IS_OURS: Final = select(Solve.id).where(
    Solve.id == bindparam("solve"), Solve.token == bindparam("claimed"), Solve.state.in_(LIVE)
)
_ANSWERED: Final = (
    select(func.count())
    .select_from(Call)
    .where(Call.solve_id == bindparam("solve"), Call.state == CallState.OK)
)


class FailedClaims:
    """What became of claims."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def note(self, claim: Claim) -> int:
        """Write down that this claim ended by a bug; a repeat is harmless.

        How many of the solve's have, since it last got an answer; none where it has ended, or is
        another process's by now.
        """

        async def work(tx: WriteTx) -> int:
            named = {"solve": claim.solve_id, "claimed": claim.token}
            if await tx.scalar(_IS_OURS, named) is None:
                return 0
            answered = await tx.scalar(_ANSWERED, named) or 0
            await tx.execute(
                upsert(FailedClaim)
                .values(
                    solve_id=claim.solve_id,
                    token=claim.token,
                    answered=answered,
                    failed_at=Clock(),
                )
                .on_conflict_do_nothing()
            )
            in_a_row = (
                select(func.count())
                .select_from(FailedClaim)
                .where(FailedClaim.solve_id == claim.solve_id, FailedClaim.answered == answered)
            )
            return await tx.scalar(in_a_row) or 0

        return await self._db.write(work)
