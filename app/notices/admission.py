"""Whether a tenant may be notified as it asks, found out before anything is spent on it."""

from collections.abc import Collection

from app.db.engine import Database
from app.errors import InvalidRequest
from app.ids import TenantId
from app.notices.addresses import check_url
from app.notices.keyring import secrets_of


class Webhooks:
    """Judges the URLs of tenants; `allowed` are origins that the operator vouches for."""

    def __init__(self, database: Database, *, allowed: Collection[str]) -> None:
        self._db, self._allowed = database, allowed

    async def admit(self, tenant_id: TenantId, *urls: str) -> None:
        """Raises InvalidRequest for a URL inside, and where there is no secret to sign with."""
        for url in urls:
            check_url(url, allowed=self._allowed)
        if not urls:
            return
        async with self._db.glance() as tx:
            signed = await secrets_of(tx, tenant_id)
        if not signed:
            raise InvalidRequest(
                "webhook", "your tenant has no secret to sign with: ask your operator for one"
            )
