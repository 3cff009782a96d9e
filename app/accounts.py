"""What an operator does: open tenants and keys, each with a budget, in one transaction.

A key without a budget could spend nothing, and one whose budget came later could spend for a moment
without bound; so neither is ever made alone.
"""

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.db.clock import now
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import KeyId, TenantId
from app.ledger.budgets import add_rule
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd
from app.tenants.directory import add_key, add_tenant, find_tenant

DAILY_LIMIT: Final = from_usd("10")
"""What a key may spend a day where nobody said otherwise."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """So much a period, in the calendar of a time zone."""

    limit: NanoUSD = DAILY_LIMIT
    period: Period = Period.DAY
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise InvalidRequest("timezone", f"no time zone {self.timezone!r}") from None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A key just made, and whose it is; `key` is the only copy of its secret."""

    tenant_id: TenantId
    key_id: KeyId
    key: str


async def open_tenant(
    database: Database, *, name: str, policy: str, allowance: Allowance
) -> NewAccount:
    """A tenant with its budget and a first key, which may spend all of it."""

    async def work(tx: WriteTx) -> NewAccount:
        tenant_id = await add_tenant(tx, name=name, policy=policy, at=await now(tx))
        await _allow(tx, tenant_id, "tenant", tenant_id, allowance)
        return await _open_key(tx, tenant_id, "default", allowance)

    return await database.write(work)


async def open_key(
    database: Database, *, tenant: str, name: str, allowance: Allowance
) -> NewAccount:
    """Another key of the tenant of that name. Raises InvalidRequest where there is none."""

    async def work(tx: WriteTx) -> NewAccount:
        tenant_id = await find_tenant(tx, tenant)
        if tenant_id is None:
            raise InvalidRequest("tenant", f"there is no tenant called {tenant!r}")
        return await _open_key(tx, tenant_id, name, allowance)

    return await database.write(work)


async def _open_key(
    tx: WriteTx, tenant_id: TenantId, name: str, allowance: Allowance
) -> NewAccount:
    made = await add_key(tx, tenant=tenant_id, name=name, at=await now(tx))
    await _allow(tx, tenant_id, "key", made.id, allowance)
    return NewAccount(tenant_id, made.id, made.text)


async def _allow(
    tx: WriteTx, tenant_id: TenantId, scope: str, scope_id: str, allowance: Allowance
) -> None:
    await add_rule(
        tx,
        tenant_id=tenant_id,
        scope=scope,
        scope_id=scope_id,
        period=allowance.period,
        timezone=allowance.timezone,
        limit=allowance.limit,
    )
