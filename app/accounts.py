"""What an operator does: open organisations, tenants and keys, each with a budget, at one go.

A key without a budget could spend nothing, and one whose budget came later could spend for a moment
without bound; so neither is ever made alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.db.clock import now
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import BatchId, KeyId, OrgId, ProjectId, TenantId
from app.ledger.budgets import TEN_THOUSAND, Account
from app.ledger.limits import set_limit
from app.ledger.periods import Period
from app.ledger.quotas import Unit
from app.ledger.raises import add as add_raise
from app.ledger.rules import rules_of, set_rule
from app.money import NanoUSD, from_usd
from app.tenants.directory import (
    Tenant,
    add_key,
    add_org,
    add_project,
    add_tenant,
    bind_key,
    bind_project,
    find_org,
    find_project,
    find_tenant,
    join_org,
    listed_keys,
)

DAILY_LIMIT: Final = from_usd("10")
"""What a key may spend a day where nobody said otherwise."""


NAME_LENGTH_MAX: Final = 64


class Scope(StrEnum):
    """Whose spending a budget bounds."""

    ORG = "org"
    TENANT = "tenant"
    PROJECT = "project"
    KEY = "key"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Allowance:
    """So much a period, in the calendar of a time zone. Raises InvalidRequest for what is none.

    From `single_from` ten-thousandths of it on, only single calls are begun.
    """

    limit: NanoUSD = DAILY_LIMIT
    period: Period = Period.DAY
    timezone: str = "UTC"
    single_from: int | None = None

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise InvalidRequest("limit", "a limit is not negative")
        if self.single_from is not None and not 1 <= self.single_from <= TEN_THOUSAND:
            raise InvalidRequest("ladder", "more than nothing of the limit, and no more than all")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is an OSError
            raise InvalidRequest("timezone", f"no time zone {self.timezone!r}") from None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A key just made, and whose it is; `key` is the only copy of its secret."""

    tenant_id: TenantId
    key_id: KeyId
    key: str


def account_of(
    tenant: Tenant, *, session: str | None = None, batch: BatchId | None = None
) -> Account:
    """Who pays for what this key asks, in a session or a batch where one is named."""
    return Account(tenant.id, tenant.key_id, tenant.project_id, tenant.org_id, session, batch)


async def open_org(database: Database, *, name: str, allowance: Allowance) -> OrgId:
    """An organisation with the budget that its tenants share.

    Raises InvalidRequest when the name is taken or is none.
    """
    _check_name(name)

    async def work(tx: WriteTx) -> OrgId:
        made = await add_org(tx, name=name, at=await now(tx))
        await _allow(tx, made, "org", made, allowance)
        return made

    return await database.write(work)


async def move_tenant(database: Database, *, tenant: str, org: str | None) -> None:
    """Let a tenant belong to an organisation, by its name, or to none, from the next solve on.

    Raises InvalidRequest where there is no such tenant or organisation.
    """

    async def work(tx: WriteTx) -> None:
        tenant_id = await tenant_named(tx, tenant)
        await join_org(tx, tenant_id, None if org is None else await _org(tx, org))

    await database.write(work)


async def open_tenant(
    database: Database, *, name: str, policy: str, allowance: Allowance, org: str | None = None
) -> NewAccount:
    """A tenant with its budget and a first key, which may spend all of it.

    Raises InvalidRequest when the name is taken or is none, or there is no such organisation.
    """
    _check_name(name)

    async def work(tx: WriteTx) -> NewAccount:
        org_id = None if org is None else await _org(tx, org)
        tenant_id = await add_tenant(tx, name=name, policy=policy, at=await now(tx), org=org_id)
        await _allow(tx, tenant_id, "tenant", tenant_id, allowance)
        return await _open_key(tx, tenant_id, "default", allowance)

    return await database.write(work)


async def open_project(
    database: Database,
    *,
    tenant: str,
    name: str,
    allowance: Allowance,
    cost_center: str | None = None,
) -> None:
    """A project of the tenant of that name, with its budget.

    Raises InvalidRequest for an unknown tenant, or a name that is taken or is none.
    """
    _check_name(name)
    _check_center(cost_center)

    async def work(tx: WriteTx) -> None:
        tenant_id = await tenant_named(tx, tenant)
        made = await add_project(
            tx, tenant=tenant_id, name=name, at=await now(tx), cost_center=cost_center
        )
        await _allow(tx, tenant_id, "project", made, allowance)

    await database.write(work)


async def open_key(
    database: Database,
    *,
    tenant: str,
    name: str,
    allowance: Allowance,
    project: str | None = None,
    cost_center: str | None = None,
) -> NewAccount:
    """Another key of a tenant, in one of its projects where that is named.

    Raises InvalidRequest where there is no such tenant or project.
    """
    _check_name(name)
    _check_center(cost_center)

    async def work(tx: WriteTx) -> NewAccount:
        tenant_id = await tenant_named(tx, tenant)
        project_id = None if project is None else await _project(tx, tenant_id, project)
        return await _open_key(
            tx, tenant_id, name, allowance, project=project_id, cost_center=cost_center
        )

    return await database.write(work)


async def bind_cost_center(
    database: Database,
    *,
    tenant: str,
    project: str | None = None,
    key: str | None = None,
    cost_center: str | None,
) -> None:
    """Bind a project (by name) or a key (by id) to a cost center, or to none.

    Solves that are opened from now on belong to it; those there are stay where they were. Raises
    InvalidRequest unless exactly one of both is named, and for one that the tenant does not have.
    """
    _check_center(cost_center)
    if (project is None) == (key is None):
        raise InvalidRequest("project", "name a project or a key")

    async def work(tx: WriteTx) -> None:
        tenant_id = await tenant_named(tx, tenant)
        if project is not None:
            await bind_project(tx, await _project(tx, tenant_id, project), cost_center)
        if key is not None:
            await bind_key(tx, KeyId(await _key(tx, tenant_id, key)), cost_center)

    await database.write(work)


async def set_budget(
    database: Database, *, tenant: str, scope: Scope, name: str | None, allowance: Allowance
) -> None:
    """Set what a tenant, a project (by name), a key (by id) or each session may spend a period.

    An organisation goes by its own name in the tenant's place. A limit below what the current
    period has used and holds takes effect from what it has.
    """

    async def work(tx: WriteTx) -> None:
        owner, scope_id = await bounded(tx, tenant, scope, name or "")
        await _allow(tx, owner, scope, scope_id, allowance)

    await database.write(work)


async def raise_budget(
    database: Database,
    *,
    tenant: str,
    scope: Scope,
    name: str | None,
    period: Period | None,
    by: NanoUSD,
    until: datetime,
    reason: str,
) -> None:
    """Add to what `set_budget` allows, until an instant; several raises add up.

    `period` may be left out where the scope has one limit. Raises InvalidRequest for what would
    never be live, and where there is no such limit.
    """

    async def work(tx: WriteTx) -> None:
        _, scope_id = await bounded(tx, tenant, scope, name or "")
        rules = await rules_of(tx, scope=scope, scope_id=scope_id)
        kinds = [known for known in rules if period in (None, known)]
        if len(kinds) != 1:
            has = ", ".join(sorted(rules)) or "none"
            raise InvalidRequest("period", f"name the one limit to raise; there are: {has}")
        await add_raise(tx, rules[kinds[0]], by=by, until=until, reason=reason)

    await database.write(work)


async def set_limits(
    database: Database,
    *,
    tenant: str,
    scope: Scope,
    name: str | None,
    limits: Mapping[Unit, int | None],
) -> None:
    """Set how many requests and tokens a minute, and solves at once; None lifts a limit.

    Raises InvalidRequest for what cannot be limited.
    """
    if scope is Scope.SESSION:
        raise InvalidRequest("scope", "a session has a budget, and no other limits")
    if any(most is not None and most < 0 for most in limits.values()):
        raise InvalidRequest("limit", "a limit is not negative")

    async def work(tx: WriteTx) -> None:
        owner, scope_id = await bounded(tx, tenant, scope, name or "")
        for unit, most in limits.items():
            await set_limit(tx, owner=owner, scope=scope, scope_id=scope_id, unit=unit, most=most)

    await database.write(work)


async def bounded(
    tx: WriteTx, tenant: str, scope: Scope, name: str
) -> tuple[TenantId | OrgId, str]:
    """Whose rule it is, and the id of what it bounds."""
    if scope is Scope.ORG:
        org_id = await _org(tx, tenant)
        return org_id, org_id
    tenant_id = await tenant_named(tx, tenant)
    match scope:
        case Scope.TENANT | Scope.SESSION:
            return tenant_id, tenant_id
        case Scope.PROJECT:
            return tenant_id, await _project(tx, tenant_id, name)
        case Scope.KEY:
            return tenant_id, await _key(tx, tenant_id, name)


async def _org(tx: WriteTx, name: str) -> OrgId:
    found = await find_org(tx, name)
    if found is None:
        raise InvalidRequest("org", f"there is no organisation called {name!r}")
    return found


async def tenant_named(tx: WriteTx, name: str) -> TenantId:
    """Its id; raises InvalidRequest where there is none."""
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


def _check_center(name: str | None) -> None:
    if name is not None and not (
        name.strip() and name.isprintable() and len(name) <= NAME_LENGTH_MAX
    ):
        raise InvalidRequest("cost_center", f"1 to {NAME_LENGTH_MAX} printable characters")


async def _open_key(
    tx: WriteTx,
    tenant_id: TenantId,
    name: str,
    allowance: Allowance,
    *,
    project: ProjectId | None = None,
    cost_center: str | None = None,
) -> NewAccount:
    made = await add_key(
        tx,
        tenant=tenant_id,
        project=project,
        name=name,
        at=await now(tx),
        cost_center=cost_center,
    )
    await _allow(tx, tenant_id, "key", made.id, allowance)
    return NewAccount(tenant_id, made.id, made.text)


async def _allow(
    tx: WriteTx, owner: TenantId | OrgId, scope: str, scope_id: str, allowance: Allowance
) -> None:
    await set_rule(
        tx,
        owner=owner,
        scope=scope,
        scope_id=scope_id,
        period=allowance.period,
        timezone=allowance.timezone,
        limit=allowance.limit,
        single_from=allowance.single_from,
    )
