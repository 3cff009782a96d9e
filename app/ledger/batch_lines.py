"""The lines of batches as replicas work on them: taken under a lease, given back, ended, read.

A line is taken by writing a replica's name on it, and may be taken from one that is dead. Who takes
a line twice does no harm: its solve has one id, and the ledger opens it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, case, func, or_, select, update

from app.db.clock import Ago, Clock
from app.db.engine import Database, WriteTx
from app.db.texts import storable
from app.ids import BatchId, KeyId, SolveId, TenantId
from app.ledger.batch_tables import BatchLineRow, BatchRow
from app.ledger.batches import (
    CANCELLED_KIND,
    ENDED_WELL,
    EXPIRED_KIND,
    FAILED,
    IN_PROGRESS,
    TAKEN,
    WAITING,
    give_up_waiting,
)
from app.ledger.tables import Payload, Replica, Solve

DETAIL_MAX: Final = 200
OF_A_TENANT: Final = 4
BATCHES_MAX: Final = 256
"""So many batches are looked at in a round, so many of them of one tenant."""

_END: Final = (
    update(BatchLineRow)
    .where(
        BatchLineRow.batch_id == bindparam("batch"),
        BatchLineRow.number == bindparam("line"),
        BatchLineRow.owner == bindparam("by"),
        BatchLineRow.state == TAKEN,
    )
    .values(
        state=bindparam("ended_as"),
        owner=None,
        request=None,
        error_kind=bindparam("kind"),
        error_detail=bindparam("detail"),
    )
)


_PUT_OFF: Final = (
    update(BatchLineRow)
    .where(
        BatchLineRow.batch_id == bindparam("batch"),
        BatchLineRow.number == bindparam("line"),
        BatchLineRow.owner == bindparam("by"),
        BatchLineRow.state == TAKEN,
    )
    .values(state=WAITING, owner=None, not_before=bindparam("until"))
)


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that has not ended, in whose name its lines run, and until when they may begin."""

    id: BatchId
    tenant_id: TenantId
    key_id: KeyId
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TakenLine:
    """A line that this replica has taken, perhaps `again` after another; `request` is JSON."""

    batch_id: BatchId
    number: int
    solve_id: SolveId
    request: str
    again: bool


@dataclass(frozen=True, slots=True)
class LineEnd:
    """How a line ended: well, with its solve's own failure, or before it became a solve."""

    line: TakenLine
    is_well: bool
    error_kind: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class LinePutOff:
    """A line that is to be tried again, by whoever takes it, once it is `until`."""

    line: TakenLine
    until: datetime


@dataclass(frozen=True, slots=True)
class LineOutput:
    """An ended line as it is read; `result` is its solve's document, None where there was none."""

    number: int
    custom_id: str
    solve_id: SolveId
    result: dict[str, Any] | None
    text: str | None
    error_kind: str | None
    error_detail: str | None


class BatchLines:
    """The lines that `replica` takes; each method is one transaction."""

    def __init__(self, database: Database, *, replica: str, lease_s: float) -> None:
        self._db, self._replica, self._lease_s = database, replica, lease_s

    async def open_batches(self) -> Sequence[OpenBatch]:
        """Each tenant's oldest batches that have not ended.

        Those whose time is up begin no more lines from here on, and those without an open line end.
        """

        async def work(tx: WriteTx) -> Sequence[OpenBatch]:
            await _expire(tx)
            await _conclude(tx)
            place = func.row_number().over(partition_by=BatchRow.tenant_id, order_by=BatchRow.id)
            open_ones = (
                select(
                    BatchRow.id,
                    BatchRow.tenant_id,
                    BatchRow.key_id,
                    BatchRow.expires_at,
                    place.label("place"),
                )
                .where(BatchRow.ended_at.is_(None))
                .subquery()
            )
            query = (
                select(
                    open_ones.c.id,
                    open_ones.c.tenant_id,
                    open_ones.c.key_id,
                    open_ones.c.expires_at,
                )
                .where(open_ones.c.place <= OF_A_TENANT)
                .order_by(open_ones.c.place, open_ones.c.id)
                .limit(BATCHES_MAX)
            )
            return [
                OpenBatch(BatchId(row[0]), TenantId(row[1]), KeyId(row[2]), row[3])
                for row in (await tx.execute(query)).all()
            ]

        async with self._db.glance() as tx:
            anything = select(BatchRow.id).where(BatchRow.ended_at.is_(None)).limit(1)
            if await tx.scalar(anything) is None:
                return []  # as most of the time: nothing is written for it
        return await self._db.write(work)

    async def take(self, batch_id: BatchId, *, most: int) -> Sequence[TakenLine]:
        """Up to `most` lines that nobody who lives has taken, in their order.

        None that is to wait, unless its batch is over, and with it the wait.
        """

        async def work(tx: WriteTx) -> Sequence[TakenLine]:
            alive = select(Replica.id).where(Replica.seen_at > Ago(self._lease_s))
            is_left = and_(
                BatchLineRow.state == TAKEN,
                BatchLineRow.owner != self._replica,
                BatchLineRow.owner.not_in(alive),
            )
            # Read first and updated by name, as solves are: see Leases.claim.
            found = await tx.execute(
                select(BatchLineRow.number, BatchLineRow.state)
                .where(
                    BatchLineRow.batch_id == batch_id,
                    BatchLineRow.state.in_([WAITING, TAKEN]),
                    or_(and_(BatchLineRow.state == WAITING, _may_begin()), is_left),
                )
                .order_by(BatchLineRow.number)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            before = {number: state for number, state in found.all()}  # noqa: C416 - rows
            taken = await tx.execute(
                update(BatchLineRow)
                .where(BatchLineRow.batch_id == batch_id, BatchLineRow.number.in_(before))
                .values(state=TAKEN, owner=self._replica, not_before=None)
                .returning(BatchLineRow.number, BatchLineRow.solve_id, BatchLineRow.request)
            )
            return [
                TakenLine(
                    batch_id,
                    number,
                    SolveId(solve_id),
                    request or "",
                    again=before[number] == TAKEN,
                )
                for number, solve_id, request in sorted(taken.all())
            ]

        return await self._db.write(work)

    async def over(self, batch_id: BatchId) -> str | None:
        """Why no line of the batch may be begun any more; None while lines may."""
        query = select(BatchRow.state).where(BatchRow.id == batch_id)
        async with self._db.glance() as tx:
            state = await tx.scalar(query)
        if state == IN_PROGRESS:
            return None
        return EXPIRED_KIND if state == "finalizing" else CANCELLED_KIND

    async def end(self, ends: Sequence[LineEnd]) -> Sequence[None]:
        """Write down how lines ended; one that another replica has meanwhile stays its own."""
        rows = [
            {
                "batch": end.line.batch_id,
                "line": end.line.number,
                "by": self._replica,
                "ended_as": ENDED_WELL if end.is_well else FAILED,
                "kind": end.error_kind,
                "detail": None
                if end.error_detail is None
                else storable(end.error_detail)[:DETAIL_MAX],
            }
            for end in sorted(ends, key=lambda one: (one.line.batch_id, one.line.number))
        ]

        async def work(tx: WriteTx) -> None:
            await tx.execute(_END, rows)

        await self._db.write(work)
        return [None] * len(ends)

    async def put_off(self, lines: Sequence[LinePutOff]) -> Sequence[None]:
        """Give lines back, to be taken later; one that another has meanwhile stays its own."""
        rows = [
            {
                "batch": one.line.batch_id,
                "line": one.line.number,
                "by": self._replica,
                "until": one.until,
            }
            for one in sorted(lines, key=lambda one: (one.line.batch_id, one.line.number))
        ]

        async def work(tx: WriteTx) -> None:
            await tx.execute(_PUT_OFF, rows)

        await self._db.write(work)
        return [None] * len(lines)

    async def outputs(
        self, batch_id: BatchId, *, after: int, most: int, text_name: str
    ) -> Sequence[LineOutput]:
        """Ended lines behind number `after`, in their order; the text is the payload so named."""
        # First so many lines and then what belongs to them: joined before, a page takes as long as
        # all of them.
        ended = (
            select(
                BatchLineRow.number,
                BatchLineRow.custom_id,
                BatchLineRow.solve_id,
                BatchLineRow.error_kind,
                BatchLineRow.error_detail,
            )
            .where(BatchLineRow.batch_id == batch_id, BatchLineRow.number > after)
            .where(BatchLineRow.state.in_([ENDED_WELL, FAILED]))
            .order_by(BatchLineRow.number)
            .limit(most)
            .subquery()
        )
        query = (
            select(
                ended.c.number,
                ended.c.custom_id,
                ended.c.solve_id,
                Solve.result,
                Payload.body,
                ended.c.error_kind,
                ended.c.error_detail,
            )
            .outerjoin(Solve, Solve.id == ended.c.solve_id)
            .outerjoin(Payload, and_(Payload.solve_id == Solve.id, Payload.name == text_name))
            .order_by(ended.c.number)
        )
        async with self._db.glance() as tx:
            return [LineOutput(*row) for row in (await tx.execute(query)).all()]


def _may_begin() -> ColumnElement[bool]:
    """Whether nothing keeps a line from being taken; the end of its batch may come as it waits."""
    batch = BatchRow.__table__.alias("its_batch")
    is_over = (
        select(batch.c.id)
        .where(batch.c.id == BatchLineRow.batch_id, batch.c.state != IN_PROGRESS)
        .exists()
    )
    return or_(BatchLineRow.not_before.is_(None), BatchLineRow.not_before <= Clock(), is_over)


async def _expire(tx: WriteTx) -> None:
    """Begin no more lines of batches whose time is up."""
    late = await tx.scalars(
        update(BatchRow)
        .where(BatchRow.state == IN_PROGRESS, BatchRow.expires_at <= Clock())
        .values(state="finalizing", expired_at=Clock())
        .returning(BatchRow.id)
    )
    await give_up_waiting(tx, [BatchId(one) for one in late.all()], kind=EXPIRED_KIND)


async def _conclude(tx: WriteTx) -> None:
    """End the batches of which no line is open."""
    open_line = select(BatchLineRow.number).where(
        BatchLineRow.batch_id == BatchRow.id, BatchLineRow.state.in_([WAITING, TAKEN])
    )
    await tx.execute(
        update(BatchRow)
        .where(BatchRow.ended_at.is_(None), ~open_line.exists())
        .values(
            state=case(
                (BatchRow.state == "cancelling", "cancelled"),
                (BatchRow.expired_at.is_not(None), "expired"),
                else_="completed",
            ),
            ended_at=Clock(),
        )
    )
