"""The secrets that sign a tenant's webhooks: the two newest, so that one can follow the other."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, func, insert, select

from app.db.clock import Clock
from app.db.engine import ReadTx, WriteTx
from app.ids import TenantId
from app.notices.signing import new_secret
from app.notices.tables import WebhookSecret

VALID: Final = 2
"""How many sign; a receiver that knows either of them can check."""


async def add_secret(tx: WriteTx, tenant_id: TenantId) -> str:
    """A new secret, which signs from now on beside the one before it; an older one is deleted."""
    newest = select(func.coalesce(func.max(WebhookSecret.made), 0))
    made = (await tx.scalar(newest.where(WebhookSecret.tenant_id == tenant_id)) or 0) + 1
    secret = new_secret()
    await tx.execute(
        insert(WebhookSecret).values(
            tenant_id=tenant_id, made=made, secret=secret, created_at=Clock()
        )
    )
    await tx.execute(
        delete(WebhookSecret).where(
            WebhookSecret.tenant_id == tenant_id, WebhookSecret.made <= made - VALID
        )
    )
    return secret


async def secrets_of(tx: ReadTx, tenant_id: TenantId) -> Sequence[str]:
    """The secrets that sign a tenant's webhooks now, newest first; none if none was made."""
    query = select(WebhookSecret.secret).where(WebhookSecret.tenant_id == tenant_id)
    return (await tx.scalars(query.order_by(WebhookSecret.made.desc()))).all()
