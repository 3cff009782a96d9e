"""The outbox: notices are put in with the fact that they tell, and taken out at least once.

Whoever claims a notice has it for a lease by the database's clock. A process that dies between
delivering and saying so leaves it to be delivered again, under the same id. Claims are fenced by
the count of attempts; that a notice was delivered is a fact, and accepted from anybody.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import ReturningUpdate

from app.db.clock import Ago, Clock
from app.db.engine import Database, ReadTx, WriteTx
from app.ids import TenantId
from app.notices.notice import Channel, Notice
from app.notices.tables import OutboxRow

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
DEAD: Final = "dead"

LEASE_S: Final = 60.0
"""How long a claim lasts; longer than any delivery may take."""

TENANT_CLAIMS_MAX: Final = 4
"""Of one tenant's notices at a time, so that nobody's dead endpoint keeps others waiting."""

LOOKED_AT_MAX: Final = 256
"""How many due notices are looked at for those to be claimed."""

DELIVERED_KEPT_S: Final = 3 * 86_400.0
DEAD_KEPT_S: Final = 30 * 86_400.0

ERROR_LENGTH_MAX: Final = 100

_PUT: Final = (
    upsert(OutboxRow)
    .values(state=PENDING, attempts=0, created_at=Clock(), due_at=Clock())
    .on_conflict_do_nothing()
)
_DUE: Final = (
    select(OutboxRow.id, OutboxRow.tenant_id)
    .where(OutboxRow.state == PENDING, OutboxRow.due_at <= Clock())
    .where(OutboxRow.tenant_id.not_in(bindparam("busy", expanding=True)))
    .order_by(OutboxRow.due_at)
    .limit(LOOKED_AT_MAX)
)
_STILL_DUE: Final = (
    select(OutboxRow.id)
    .where(OutboxRow.id.in_(bindparam("chosen", expanding=True)))
    .where(OutboxRow.state == PENDING, OutboxRow.due_at <= Clock())
    .order_by(OutboxRow.id)
    .with_for_update(skip_locked=True)
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice to deliver now, and the how-manieth attempt that is."""

    notice: Notice
    attempt: int


async def put(tx: WriteTx, notices: Sequence[Notice]) -> None:
    """Write notices down, to be delivered once the transaction is committed; again is harmless."""
    if notices:
        await tx.execute(
            _PUT,
            [
                {
                    "id": notice.id,
                    "tenant_id": notice.tenant_id,
                    "channel": notice.channel,
                    "destination": notice.destination,
                    "trusted": notice.trusted,
                    "event": notice.event,
                    "body": notice.body,
                }
                for notice in notices
            ],
        )


async def counts(tx: ReadTx) -> Mapping[str, int]:
    """How many notices are pending, and how many dead."""
    query = select(OutboxRow.state, func.count()).where(OutboxRow.state.in_((PENDING, DEAD)))
    found = {state: count for state, count in await tx.execute(query.group_by(OutboxRow.state))}  # noqa: C416 - rows
    return {PENDING: found.get(PENDING, 0), DEAD: found.get(DEAD, 0)}


class Outbox:
    """Takes notices out, and writes down what became of them."""

    def __init__(self, database: Database, *, lease_s: float = LEASE_S) -> None:
        self._db, self._lease_s = database, lease_s

    async def claim(self, *, most: int, but_not: Collection[TenantId] = ()) -> Sequence[Claimed]:
        """Up to `most` notices that are due, oldest first, for a lease.

        None of the tenants `but_not`, and no more than TENANT_CLAIMS_MAX of any other.
        """
        async with self._db.glance() as tx:
            due = (await tx.execute(_DUE, {"busy": list(but_not)})).all()
        chosen = _fairly([(row[0], TenantId(row[1])) for row in due], most)
        if not chosen:
            return ()  # what most looks find; nothing was written for it

        async def work(tx: WriteTx) -> Sequence[Claimed]:
            ids = (await tx.scalars(_STILL_DUE, {"chosen": chosen})).all()
            taken = await tx.execute(
                update(OutboxRow)
                .where(OutboxRow.id.in_(ids))
                .values(attempts=OutboxRow.attempts + 1, due_at=Ago(-self._lease_s))
                .returning(
                    OutboxRow.id,
                    OutboxRow.tenant_id,
                    OutboxRow.channel,
                    OutboxRow.destination,
                    OutboxRow.event,
                    OutboxRow.body,
                    OutboxRow.trusted,
                    OutboxRow.attempts,
                )
            )
            return [
                Claimed(
                    Notice(row[0], TenantId(row[1]), Channel(row[2]), *row[3:7]), attempt=row[7]
                )
                for row in sorted(taken.all())
            ]

        return await self._db.write(work)

    async def delivered(self, notice_id: str) -> bool:
        """Note that a notice arrived, whoever's claim it is now; False if it was known."""
        row = (
            update(OutboxRow)
            .where(OutboxRow.id == notice_id, OutboxRow.state != DELIVERED)
            .values(state=DELIVERED, due_at=Ago(-DELIVERED_KEPT_S), error=None)
            .returning(OutboxRow.id)
        )
        return await self._is_changed(row)

    async def failed(self, claimed: Claimed, reason: str, *, retry_s: float | None) -> bool:
        """Note that an attempt failed: try again in so many seconds, or never.

        False where another has claimed it meanwhile, or it is over.
        """
        again = retry_s is not None
        row = (
            update(OutboxRow)
            .where(OutboxRow.id == claimed.notice.id, OutboxRow.state == PENDING)
            .where(OutboxRow.attempts == claimed.attempt)
            .values(
                state=PENDING if again else DEAD,
                due_at=Ago(-(DEAD_KEPT_S if retry_s is None else retry_s)),
                error=reason[:ERROR_LENGTH_MAX],
            )
            .returning(OutboxRow.id)
        )
        return await self._is_changed(row)

    async def clear(self, *, most: int) -> int:
        """Delete up to `most` notices whose time after their end is over; how many there were."""
        over = (
            select(OutboxRow.id)
            .where(OutboxRow.state.in_((DELIVERED, DEAD)), OutboxRow.due_at <= Clock())
            .limit(most)
        )

        async def work(tx: WriteTx) -> int:
            ids = (await tx.scalars(over)).all()
            await tx.execute(delete(OutboxRow).where(OutboxRow.id.in_(ids)))
            return len(ids)

        async with self._db.glance() as tx:
            if await tx.scalar(over) is None:
                return 0
        return await self._db.write(work)

    async def _is_changed(self, row: ReturningUpdate[str]) -> bool:
        async def work(tx: WriteTx) -> bool:
            return await tx.scalar(row) is not None

        return await self._db.write(work)


def _fairly(due: Sequence[tuple[str, TenantId]], most: int) -> list[str]:
    taken: dict[TenantId, int] = {}
    chosen: list[str] = []
    for notice_id, tenant_id in due:
        if len(chosen) == most:
            break
        if taken.get(tenant_id, 0) < TENANT_CLAIMS_MAX:
            taken[tenant_id] = taken.get(tenant_id, 0) + 1
            chosen.append(notice_id)
    return chosen
