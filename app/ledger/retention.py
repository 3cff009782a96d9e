"""Texts live apart from the money, so that they can be erased while every amount stays."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Clock
from app.db.engine import ReadTx, WriteTx
from app.db.texts import storable
from app.ids import SolveId, TenantId
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
