"""Texts live apart from the money, so that they can be erased while every amount stays."""

from collections.abc import Mapping

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.engine import WriteTx
from app.db.texts import storable
from app.ids import SolveId
from app.ledger.tables import Payload, SolveInput


async def keep_texts(tx: WriteTx, solve_id: SolveId, texts: Mapping[str, str]) -> None:
    """Keep texts under their names; a later text takes the place of an earlier one."""
    for name, text in texts.items():
        body = storable(text)
        row = upsert(Payload).values(solve_id=solve_id, name=name, body=body)
        await tx.execute(
            row.on_conflict_do_update(index_elements=["solve_id", "name"], set_={"body": body})
        )


async def erase_texts(tx: WriteTx, solve_id: SolveId) -> None:
    """Forget what a solve asked and was answered; what it cost stays."""
    await tx.execute(delete(Payload).where(Payload.solve_id == solve_id))
    await tx.execute(delete(SolveInput).where(SolveInput.solve_id == solve_id))
