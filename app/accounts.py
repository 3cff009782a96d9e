"""What an operator does: open tenants and keys, each with a budget, in one transaction.

A key without a budget could spend nothing, and one whose budget came later could spend for a moment
without bound; so neither is ever made alone.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.db.clock import now
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import KeyId, ProjectId, TenantId
from app.ledger.budgets import set_rule
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd
from app.tenants.directory import (
    add_key,
    add_project,
    add_tenant,
    find_project,
    find_tenant,
    listed_keys,
)

DAILY_LIMIT: Final = from_usd("10")
"""What a key may spend a day where nobody said otherwise."""


NAME_LENGTH_MAX: Final = 64


class Scope(StrEnum):
    """Whose spending a budget bounds."""

    TENANT = "tenant"
    PROJECT = "project"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Allowance:
    """So much a period, in the calendar of a time zone. Raises InvalidRequest for what is none."""

    limit: NanoUSD = DAILY_LIMIT
    period: Period = Period.DAY
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise InvalidRequest("limit", "a limit is not negative")
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
    """A tenant with its budget and a first key, which may spend all of it.

    Raises InvalidRequest when the name is taken or is none.
    """
    _check_name(name)

    async def work(tx: WriteTx) -> NewAccount:
        tenant_id = await add_tenant(tx, name=name, policy=policy, at=await now(tx))
        await _allow(tx, tenant_id, "tenant", tenant_id, allowance)
        return await _open_key(tx, tenant_id, "default", allowance)

    return await database.write(work)


async def open_project(database: Database, *, tenant: str, name: str, allowance: Allowance) -> None:
    """A project of the tenant of that name, with its budget.

    Raises InvalidRequest for an unknown tenant, or a name that is taken or is none.
    """
    _check_name(name)

    async def work(tx: WriteTx) -> None:
        tenant_id = await _tenant(tx, tenant)
        made = await add_project(tx, tenant=tenant_id, name=name, at=await now(tx))
        await _allow(tx, tenant_id, "project", made, allowance)

    await database.write(work)


async def open_key(
    database: Database, *, tenant: str, name: str, allowance: Allowance, project: str | None = None
) -> NewAccount:
    """Another key of a tenant, in one of its projects where that is named.

    Raises InvalidRequest where there is no such tenant or project.
    """
    _check_name(name)

    async def work(tx: WriteTx) -> NewAccount:
        tenant_id = await _tenant(tx, tenant)
        project_id = None if project is None else await _project(tx, tenant_id, project)
        return await _open_key(tx, tenant_id, name, allowance, project=project_id)

    return await database.write(work)


async def set_budget(
    database: Database, *, tenant: str, scope: Scope, name: str | None, allowance: Allowance
) -> None:
    """Set what a tenant, a project (by name) or a key (by id) may spend a period.

    A limit below what the current period has used and holds takes effect from what it has.
    """

    async def work(tx: WriteTx) -> None:
        tenant_id = await _tenant(tx, tenant)
        match scope:
            case Scope.TENANT:
                scope_id: str = tenant_id
            case Scope.PROJECT:
                scope_id = await _project(tx, tenant_id, name or "")
            case Scope.KEY:
                scope_id = await _key(tx, tenant_id, name or "")
        await _allow(tx, tenant_id, scope, scope_id, allowance)

    await database.write(work)


async def _tenant(tx: WriteTx, name: str) -> TenantId:
    found = await find_tenant(tx, name)
    if found is None:
        raise InvalidRequest("tenant", f"there is no tenant called {name!r}")
    return found


async def _project(tx: WriteTx, tenant_id: TenantId, name: str) -> ProjectId:
    found = await find_project(tx, tenant_id, name)
    if found is None:
        raise InvalidRequest("project", f"the tenant has no project called {name!r}")
    return found


async def _key(tx: WriteTx, tenant_id: TenantId, key_id: str) -> str:
    if key_id not in [made for made, *_ in await listed_keys(tx, tenant_id)]:
        raise InvalidRequest("key", f"the tenant has no key {key_id!r}")
    return key_id


def _check_name(name: str) -> None:
    if not (name.strip() and name.isprintable() and len(name) <= NAME_LENGTH_MAX):
        raise InvalidRequest("name", f"1 to {NAME_LENGTH_MAX} printable characters")


async def _open_key(
    tx: WriteTx,
    tenant_id: TenantId,
    name: str,
    allowance: Allowance,
    *,
    project: ProjectId | None = None,
) -> NewAccount:
    at = await now(tx)
    made = await add_key(tx, tenant=tenant_id, project=project, name=name, at=at)
    await _allow(tx, tenant_id, "key", made.id, allowance)
    return NewAccount(tenant_id, made.id, made.text)


async def _allow(
    tx: WriteTx, tenant_id: TenantId, scope: str, scope_id: str, allowance: Allowance
) -> None:
    await set_rule(
        tx,
        tenant_id=tenant_id,
        scope=scope,
        scope_id=scope_id,
        period=allowance.period,
        timezone=allowance.timezone,
        limit=allowance.limit,
    )
