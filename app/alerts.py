"""Who is told when a budget comes to a threshold, and what signs what a tenant is told."""

from app.accounts import Scope, bounded, tenant_named
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import TenantId
from app.ledger.periods import Period
from app.ledger.thresholds import Threshold, set_alert, unset_alert
from app.notices.keyring import add_secret, secrets_of
from app.notices.notice import Channel


async def alert(
    database: Database,
    threshold: Threshold,
    *,
    tenant: str,
    scope: Scope,
    name: str | None,
    period: Period | None,
    off: bool,
) -> None:
    """Tell somebody when a budget comes to a threshold, or no more.

    `period` None means each of its budgets. Raises InvalidRequest where there is none, or no secret
    that a webhook could be signed with: an organisation has none.
    """

    async def work(tx: WriteTx) -> None:
        owner, scope_id = await bounded(tx, tenant, scope, name or "")
        if off:
            if not await unset_alert(tx, threshold, scope=scope, scope_id=scope_id, period=period):
                raise InvalidRequest("alert", "there is no such alert")
            return
        if threshold.channel is Channel.WEBHOOK:
            if scope is Scope.ORG:
                raise InvalidRequest("webhook", "tell an organisation's by --slack or --email")
            if not await secrets_of(tx, TenantId(owner)):
                make = f"fathom webhooks secret {tenant}"
                raise InvalidRequest("webhook", f"make what signs it: {make}")
        whole = scope in (Scope.TENANT, Scope.ORG)
        label = tenant if whole else " ".join(filter(None, (scope, name, "of", tenant)))
        if not await set_alert(
            tx, threshold, scope=scope, scope_id=scope_id, period=period, label=label
        ):
            raise InvalidRequest("period", f"the {scope} has no such budget")

    await database.write(work)


async def make_webhook_secret(database: Database, *, tenant: str) -> str:
    """A new secret that signs the tenant's webhooks, beside the one before it.

    Raises InvalidRequest for an unknown tenant.
    """

    async def work(tx: WriteTx) -> str:
        return await add_secret(tx, await tenant_named(tx, tenant))

    return await database.write(work)
