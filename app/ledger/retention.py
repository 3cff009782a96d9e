"""Texts live apart from the money, so that they can be erased while every amount stays."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.engine import WriteTx
from app.db.texts import storable
from app.ids import SolveId
from app.ledger.tables import Call, Payload, SolveInput

_KEEP: Final = upsert(Payload).on_conflict_do_update(
    index_elements=["solve_id", "name"], set_={"body": upsert(Payload).excluded.body}
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


async def erase_texts(tx: WriteTx, solve_id: SolveId) -> None:
    """Forget what a solve asked and was answered; what it cost stays.

    Why its calls failed goes too: a vendor may quote the prompt there.
    """
    await tx.execute(delete(Payload).where(Payload.solve_id == solve_id))
    await tx.execute(delete(SolveInput).where(SolveInput.solve_id == solve_id))
    await tx.execute(
        update(Call).where(Call.solve_id == solve_id).values(error=None, abandoned=None)
    )
