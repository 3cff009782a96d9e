"""Texts live apart from the money, so that they can be erased while every amount stays.

Every column of every table is put into words in tests/ledger/test_kept_texts.py: whether a text of
a request or an answer may be there, and what erases it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from app.db.clock import Ago, Clock
from app.db.engine import ReadTx, WriteTx
from app.db.texts import storable
from app.ids import SolveId, TenantId
from app.ledger.batch_tables import BatchLineRow, BatchRow
from app.ledger.tables import Call, Payload, Solve, SolveInput

_KEEP: Final = upsert(Payload).on_conflict_do_update(
    index_elements=["solve_id", "name"], set_={"body": upsert(Payload).excluded.body}
)
_SCRUB: Final = (
    update(Solve)
    .where(Solve.id == bindparam("solve"))
    .values(result=bindparam("document"), erase_at=None)
)


async def keep_texts(tx: WriteTx, texts: Sequence[tuple[SolveId, Mapping[str, str]]]) -> None:
    """Keep solves' texts under their names; a later text takes the place of an earlier one."""
    rows = [
        {"solve_id": solve_id, "name": name, "body": storable(text)}
        for solve_id, named in texts
        for name, text in named.items()
    ]
    if rows:
        await tx.execute(_KEEP, rows)


async def erase_texts(tx: WriteTx, solve_ids: Sequence[SolveId]) -> None:
    """Forget what solves asked and were answered; what they cost stays.

    Why their calls failed goes too: a vendor may quote the prompt there.
    """
    await tx.execute(delete(Payload).where(Payload.solve_id.in_(solve_ids)))
    await tx.execute(delete(SolveInput).where(SolveInput.solve_id.in_(solve_ids)))
    await tx.execute(
        update(Call).where(Call.solve_id.in_(solve_ids)).values(error=None, abandoned=None)
    )


async def due(tx: ReadTx, *, most: int) -> Sequence[SolveId]:
    """Ended solves whose texts have been kept long enough, longest first."""
    query = select(Solve.id).where(Solve.erase_at <= Clock()).order_by(Solve.erase_at).limit(most)
    return [SolveId(solve_id) for solve_id in (await tx.scalars(query)).all()]


async def with_texts(tx: ReadTx, tenant_id: TenantId, *, most: int) -> Sequence[SolveId]:
    """Ended solves of a tenant whose texts are kept."""
    query = (
        select(Solve.id)
        .join(SolveInput, SolveInput.solve_id == Solve.id)
        .where(Solve.tenant_id == tenant_id, Solve.completed_at.is_not(None))
        .limit(most)
    )
    return [SolveId(solve_id) for solve_id in (await tx.scalars(query)).all()]


async def left_behind(tx: ReadTx, *, most: int) -> Sequence[SolveId]:
    """Ended solves that keep texts which they had of an earlier one, though those were erased.

    A solve that goes on from another, or repeats it, has copies of what that asked and was
    answered. One that runs needs them to its end.
    """
    earlier = aliased(SolveInput)
    query = (
        select(Solve.id)
        .join(SolveInput, SolveInput.solve_id == Solve.id)
        .outerjoin(earlier, earlier.solve_id == func.coalesce(Solve.resumed_from, Solve.replay_of))
        .where(or_(Solve.resumed_from.is_not(None), Solve.replay_of.is_not(None)))
        .where(Solve.completed_at.is_not(None), earlier.solve_id.is_(None))
        .limit(most)
    )
    return [SolveId(solve_id) for solve_id in (await tx.scalars(query)).all()]


async def erase_details(tx: WriteTx, *, of: TenantId | None = None, older_s: float) -> None:
    """Forget why lines of batches that have ended so long ago were refused, of all or one tenant.

    A refusal may name what was asked for, and such a line has no solve.
    """
    old = select(BatchRow.id).where(BatchRow.ended_at <= Ago(older_s))
    if of is not None:
        old = old.where(BatchRow.tenant_id == of)
    await tx.execute(
        update(BatchLineRow)
        .where(BatchLineRow.error_detail.is_not(None), BatchLineRow.batch_id.in_(old))
        .values(error_detail=None)
    )


async def ended_results(
    tx: WriteTx, solve_ids: Sequence[SolveId]
) -> Mapping[SolveId, Mapping[str, Any]]:
    """The results of those of these solves that have ended, locked."""
    rows = await tx.execute(
        select(Solve.id, Solve.result)
        .where(Solve.id.in_(solve_ids), Solve.completed_at.is_not(None))
        .order_by(Solve.id)  # in one order, so that two processes cannot wait for each other
        .with_for_update()
    )
    return {SolveId(row[0]): row[1] or {} for row in rows.all()}


async def erase_ended(tx: WriteTx, results: Mapping[SolveId, Mapping[str, Any]]) -> None:
    """Forget the texts of ended solves, whose results become these, which hold none."""
    if results:
        await erase_texts(tx, list(results))
        await tx.execute(
            _SCRUB, [{"solve": solve_id, "document": kept} for solve_id, kept in results.items()]
        )
