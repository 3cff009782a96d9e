"""Texts live apart from the money, so that they can be erased while every amount stays."""

from collections.abc import Mapping

from sqlalchemy import delete, insert

from app.db.engine import WriteTx
from app.ids import SolveId
from app.ledger.tables import Payload, SolveInput


async def keep_texts(tx: WriteTx, solve_id: SolveId, texts: Mapping[str, str]) -> None:
    """Keep texts under their names."""
    rows = [{"solve_id": solve_id, "name": name, "body": body} for name, body in texts.items()]
    if rows:
        await tx.execute(insert(Payload), rows)


async def erase_texts(tx: WriteTx, solve_id: SolveId) -> None:
    """Forget what a solve asked and was answered; what it cost stays."""
    await tx.execute(delete(Payload).where(Payload.solve_id == solve_id))
    await tx.execute(delete(SolveInput).where(SolveInput.solve_id == solve_id))
