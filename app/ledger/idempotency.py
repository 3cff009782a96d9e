"""A caller's own name for a request, so that sending it twice pays once.

The key is written in the transaction that holds the money: either both happened or neither, and of
two requests that race with one key only one is ever admitted. A solve that was cancelled frees its
key: its client left without an answer, and whoever asks again is to get one.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Ago, Clock
from app.db.engine import ReadTx, WriteTx
from app.ids import SolveId, TenantId
from app.ledger.tables import Idempotency, Solve

KEPT_S: Final = 24 * 3600.0

CANCELLED: Final = "cancelled"
"""The state of a solve whose client left."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key that a caller sent, and the hash of the body that came with it."""

    key: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """What was asked before under the same key."""

    solve_id: SolveId
    body_sha256: str


class KeyTaken(Exception):
    """The key is in use; the transaction that found out is undone."""


async def remember(
    tx: WriteTx, tenant_id: TenantId, key: IdempotencyKey, solve_id: SolveId
) -> None:
    """Bind the key to the solve for a day. Raises KeyTaken where it is bound to another."""
    await tx.execute(
        delete(Idempotency).where(
            Idempotency.tenant_id == tenant_id,
            Idempotency.key == key.key,
            or_(Idempotency.expires_at <= Clock(), _was_cancelled()),
        )
    )
    bound = await tx.scalar(
        upsert(Idempotency)
        .values(
            tenant_id=tenant_id,
            key=key.key,
            body_sha256=key.body_sha256,
            solve_id=solve_id,
            expires_at=Ago(-KEPT_S),
        )
        .on_conflict_do_nothing()
        .returning(Idempotency.solve_id)
    )
    if bound is None:
        raise KeyTaken


async def earlier(tx: ReadTx, tenant_id: TenantId, key: str) -> EarlierRequest | None:
    """What the key is bound to, if it is."""
    found = await tx.execute(_EARLIER, {"tenant": tenant_id, "name": key})
    row = found.one_or_none()
    return None if row is None else EarlierRequest(SolveId(row[0]), row[1])


def _was_cancelled() -> ColumnElement[bool]:
    return (
        select(Solve.id)
        .where(Solve.id == Idempotency.solve_id, Solve.state == CANCELLED)
        .correlate(Idempotency)
        .exists()
    )


_EARLIER: Final = select(Idempotency.solve_id, Idempotency.body_sha256).where(
    Idempotency.tenant_id == bindparam("tenant"),
    Idempotency.key == bindparam("name"),
    Idempotency.expires_at > Clock(),
    ~_was_cancelled(),
)
