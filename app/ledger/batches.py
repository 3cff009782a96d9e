"""Batches as their tenants see them: made whole or not at all, counted, cancelled, read back.

How far a batch has come is counted from its lines and what it cost read from its budget whenever
somebody asks: a counter of its own could only disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Ago, Clock
from app.db.engine import Database, ReadTx, WriteTx
from app.ids import BatchId, KeyId, SolveId, TenantId, solve_id
from app.ledger.batch_tables import BatchLineRow, BatchRow
from app.ledger.cancelling import CANCELLING, RUNNING
from app.ledger.idempotency import IdempotencyKey, KeyTaken
from app.ledger.periods import Period
from app.ledger.refusals import IdempotencyKeyReused
from app.ledger.rules import set_rule
from app.ledger.tables import Budget, BudgetRule, Solve
from app.money import NanoUSD

LINES_TOGETHER: Final = 200
"""So many rows a statement: as one, all of them would keep everybody waiting."""

IN_PROGRESS: Final = "in_progress"
WAITING: Final = "waiting"
TAKEN: Final = "taken"
ENDED_WELL: Final = "ok"
FAILED: Final = "failed"
CANCELLED_KIND: Final = "BatchCancelled"
EXPIRED_KIND: Final = "BatchExpired"
"""Why a line never became a solve, by the name of a refusal."""


@dataclass(frozen=True, slots=True)
class NewLine:
    """A request of a batch to be: the caller's name for it, and the request as a JSON text."""

    custom_id: str
    request: str


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be made. `window_s` seconds from now what has not begun is given up."""

    id: BatchId
    tenant_id: TenantId
    key_id: KeyId
    idempotency: IdempotencyKey
    cap: NanoUSD
    window: str
    window_s: float
    lines: Sequence[NewLine]


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as it stands; `spent` and `held` are nano-dollars of its cap."""

    id: BatchId
    key_id: KeyId
    state: str
    cap: NanoUSD
    window: str
    total: int
    created_at: datetime
    expires_at: datetime
    expired_at: datetime | None
    cancelling_at: datetime | None
    ended_at: datetime | None
    completed: int = 0
    failed: int = 0
    spent: NanoUSD = NanoUSD(0)
    held: NanoUSD = NanoUSD(0)


_COLUMNS: Final = (
    BatchRow.id,
    BatchRow.key_id,
    BatchRow.state,
    BatchRow.cap,
    BatchRow.window,
    BatchRow.total,
    BatchRow.created_at,
    BatchRow.expires_at,
    BatchRow.expired_at,
    BatchRow.cancelling_at,
    BatchRow.ended_at,
)


class BatchBook:
    """The batches of tenants; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def earlier(self, tenant_id: TenantId, key: IdempotencyKey) -> BatchId | None:
        """The batch that came with this key and body before; keys of batches do not expire.

        Raises IdempotencyKeyReused where it came with another body.
        """
        query = select(BatchRow.id, BatchRow.body_sha256).where(
            BatchRow.tenant_id == tenant_id, BatchRow.idempotency_key == key.key
        )
        async with self._db.read() as tx:
            row = (await tx.execute(query)).one_or_none()
        if row is None:
            return None
        if row[1] != key.body_sha256:
            raise IdempotencyKeyReused("this key came with another batch before; use a new one")
        return BatchId(row[0])

    async def create(self, batch: NewBatch) -> None:
        """The batch with its lines and its cap; nothing is held. Raises KeyTaken."""

        async def work(tx: WriteTx) -> None:
            await _make(tx, batch)
            await set_rule(
                tx,
                owner=batch.tenant_id,
                scope="batch",
                scope_id=batch.id,
                period=Period.TOTAL,
                timezone="UTC",
                limit=batch.cap,
            )
            for start in range(0, len(batch.lines), LINES_TOGETHER):
                some = batch.lines[start : start + LINES_TOGETHER]
                rows = [
                    _line(batch.id, number, line) for number, line in enumerate(some, start + 1)
                ]
                await tx.execute(insert(BatchLineRow), rows)

        await self._db.write(work)

    async def find(self, tenant_id: TenantId, batch_id: str) -> BatchRecord | None:
        """The batch, or None where this tenant has none of that id."""
        query = select(*_COLUMNS).where(BatchRow.id == batch_id, BatchRow.tenant_id == tenant_id)
        async with self._db.read() as tx:
            found = await _standing(tx, (await tx.execute(query)).all())
        return next(iter(found), None)

    async def listed(
        self, tenant_id: TenantId, *, after: str | None, most: int
    ) -> Sequence[BatchRecord]:
        """The tenant's batches, newest first; `after` is the id of one to go on behind."""
        query = select(*_COLUMNS).where(BatchRow.tenant_id == tenant_id)
        if after is not None:
            query = query.where(BatchRow.id < after)
        async with self._db.read() as tx:
            rows = (await tx.execute(query.order_by(BatchRow.id.desc()).limit(most))).all()
            return await _standing(tx, rows)

    async def cancel(self, batch_id: BatchId) -> Sequence[SolveId]:
        """Begin no more lines, and ask the solves that run to end; harmless where it has ended.

        Returns those solves.
        """

        async def work(tx: WriteTx) -> Sequence[SolveId]:
            marked = await tx.scalar(
                update(BatchRow)
                .where(BatchRow.id == batch_id, BatchRow.ended_at.is_(None))
                .values(
                    state="cancelling",
                    cancelling_at=func.coalesce(BatchRow.cancelling_at, Clock()),
                )
                .returning(BatchRow.id)
            )
            if marked is None:
                return []
            await give_up_waiting(tx, [batch_id], kind=CANCELLED_KIND)
            taken = select(BatchLineRow.solve_id).where(
                BatchLineRow.batch_id == batch_id, BatchLineRow.state == TAKEN
            )
            running = (await tx.scalars(taken)).all()
            ended = await tx.scalars(
                update(Solve)
                .where(Solve.id.in_(running), Solve.state == RUNNING)
                .values(state=CANCELLING)
                .returning(Solve.id)
            )
            return [SolveId(one) for one in ended.all()]

        return await self._db.write(work)


async def give_up_waiting(tx: WriteTx, batch_ids: Sequence[BatchId], *, kind: str) -> None:
    """End every line of these batches that nobody has taken."""
    await tx.execute(
        update(BatchLineRow)
        .where(BatchLineRow.batch_id.in_(batch_ids), BatchLineRow.state == WAITING)
        .values(state=FAILED, request=None, error_kind=kind)
    )


async def _make(tx: WriteTx, batch: NewBatch) -> None:
    made = await tx.scalar(
        upsert(BatchRow)
        .values(
            id=batch.id,
            tenant_id=batch.tenant_id,
            key_id=batch.key_id,
            idempotency_key=batch.idempotency.key,
            body_sha256=batch.idempotency.body_sha256,
            cap=batch.cap,
            completion_window=batch.window,
            total=len(batch.lines),
            state=IN_PROGRESS,
            created_at=Clock(),
            expires_at=Ago(-batch.window_s),
        )
        .on_conflict_do_nothing()
        .returning(BatchRow.id)
    )
    if made is None:
        raise KeyTaken


def _line(batch_id: BatchId, number: int, line: NewLine) -> dict[str, object]:
    return {
        "batch_id": batch_id,
        "number": number,
        "custom_id": line.custom_id,
        "solve_id": solve_id(),
        "state": WAITING,
        "request": line.request,
    }


async def _standing(tx: ReadTx, rows: Sequence[Row[*tuple[Any, ...]]]) -> Sequence[BatchRecord]:
    ids = [row[0] for row in rows]
    counts = await _counts(tx, ids)
    money = await _money(tx, ids)
    nothing = NanoUSD(0), NanoUSD(0)
    return [
        replace(
            record,
            completed=counts.get((record.id, ENDED_WELL), 0),
            failed=counts.get((record.id, FAILED), 0),
            spent=money.get(record.id, nothing)[0],
            held=money.get(record.id, nothing)[1],
        )
        for record in (BatchRecord(*row) for row in rows)
    ]


async def _counts(tx: ReadTx, ids: Sequence[str]) -> Mapping[tuple[str, str], int]:
    query = (
        select(BatchLineRow.batch_id, BatchLineRow.state, func.count())
        .where(BatchLineRow.batch_id.in_(ids))
        .group_by(BatchLineRow.batch_id, BatchLineRow.state)
    )
    return {(batch, state): count for batch, state, count in await tx.execute(query)}


async def _money(tx: ReadTx, ids: Sequence[str]) -> Mapping[str, tuple[NanoUSD, NanoUSD]]:
    query = (
        select(BudgetRule.scope_id, Budget.posted, Budget.reserved)
        .join(Budget, Budget.rule_id == BudgetRule.id)
        .where(BudgetRule.scope == "batch", BudgetRule.scope_id.in_(ids))
    )
    return {batch: (posted, held) for batch, posted, held in await tx.execute(query)}
