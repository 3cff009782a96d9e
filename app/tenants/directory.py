"""Tenants and keys in the database: make them, and find out who is asking."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.db.batch import Batch
from app.db.clock import Clock
from app.db.engine import Database, ReadTx, WriteTx
from app.errors import GatewayError, InvalidRequest
from app.ids import KeyId, OrgId, ProjectId, TenantId, org_id, project_id, tenant_id
from app.tenants import keys
from app.tenants.keys import NewKey
from app.tenants.tables import KeyRow, OrganisationRow, ProjectRow, TenantRow


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who is asking, by which key, under which policy.

    `cost_center` is the key's, else its project's; never what a request says.
    """

    id: TenantId
    name: str
    project_id: ProjectId | None
    key_id: KeyId
    policy: str
    cost_center: str | None = None
    org_id: OrgId | None = None


class Unauthenticated(GatewayError):
    """No valid key. Says nothing about which part was wrong."""

    def __init__(self) -> None:
        super().__init__("send a valid key in the header `Authorization: Bearer <key>`")


_KEYS: Final = (
    select(
        KeyRow.id,
        KeyRow.sha256,
        KeyRow.project_id,
        TenantRow.id,
        TenantRow.name,
        TenantRow.policy,
        func.coalesce(KeyRow.cost_center, ProjectRow.cost_center),
        TenantRow.org_id,
    )
    .join(TenantRow, TenantRow.id == KeyRow.tenant_id)
    .outerjoin(ProjectRow, ProjectRow.id == KeyRow.project_id)
    .where(KeyRow.revoked_at.is_(None))
)
_WHOSE_KEYS: Final = _KEYS.where(KeyRow.id.in_(bindparam("keys", expanding=True)))
_NAMED: Final = _KEYS.where(TenantRow.name == bindparam("name")).order_by(KeyRow.id).limit(1)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a key's id leads to; the key itself is yet to be compared."""

    sha256: str
    tenant: Tenant


def _found(  # noqa: PLR0917 - a row
    key: str,
    sha256: str,
    project: str | None,
    tenant: str,
    name: str,
    policy: str,
    cost_center: str | None,
    org: str | None,
) -> _Found:
    in_project = None if project is None else ProjectId(project)
    in_org = None if org is None else OrgId(org)
    found = Tenant(TenantId(tenant), name, in_project, KeyId(key), policy, cost_center, in_org)
    return _Found(sha256, found)


class Directory:
    """Finds tenants by their keys."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lookups = Batch(self._look_up)

    async def authenticate(self, key: str) -> Tenant:
        """The tenant of a key. Raises Unauthenticated for an unknown or revoked one."""
        key_id = keys.public_id(key)
        if key_id is None:
            raise Unauthenticated
        found = await self._lookups.submit(key_id)
        if found is None or not keys.matches(key, found.sha256):
            raise Unauthenticated
        return found.tenant

    async def holder(self, key_id: KeyId) -> Tenant | None:
        """The tenant of a key by its id, for what was begun with it; None once it is revoked."""
        found = await self._lookups.submit(key_id)
        return None if found is None else found.tenant

    async def named(self, name: str) -> Tenant | None:
        """The tenant of that name, by its oldest key; None where it has none, or is none."""
        async with self._db.glance() as tx:
            row = (await tx.execute(_NAMED, {"name": name})).first()
        return None if row is None else _found(*row).tenant

    async def _look_up(self, key_ids: Sequence[KeyId]) -> Sequence["_Found | None"]:
        async with self._db.glance() as tx:
            rows = (await tx.execute(_WHOSE_KEYS, {"keys": key_ids})).all()
        found = {row[0]: _found(*row) for row in rows}
        return [found.get(key_id) for key_id in key_ids]


async def find_tenant(tx: ReadTx, name: str) -> TenantId | None:
    """The id of the tenant of that name."""
    found = await tx.scalar(select(TenantRow.id).where(TenantRow.name == name))
    return None if found is None else TenantId(found)


async def tenants_named(tx: ReadTx, names: Collection[str]) -> Mapping[str, str]:
    """The names of those of these tenants that exist, by id."""
    rows = await tx.execute(select(TenantRow.id, TenantRow.name).where(TenantRow.name.in_(names)))
    return {tenant: name for tenant, name in rows}  # noqa: C416 - rows are no tuples to a checker


async def oldest_tenants(tx: ReadTx, *, most: int) -> Mapping[str, str]:
    """The names of the tenants made first, by id."""
    query = select(TenantRow.id, TenantRow.name).order_by(TenantRow.id).limit(most)
    rows = await tx.execute(query)
    return {tenant: name for tenant, name in rows}  # noqa: C416 - rows are no tuples to a checker


async def find_org(tx: ReadTx, name: str) -> OrgId | None:
    """The id of the organisation of that name."""
    found = await tx.scalar(select(OrganisationRow.id).where(OrganisationRow.name == name))
    return None if found is None else OrgId(found)


async def org_of(tx: ReadTx, tenant: TenantId) -> OrgId | None:
    """The organisation that a tenant belongs to."""
    found = await tx.scalar(select(TenantRow.org_id).where(TenantRow.id == tenant))
    return None if found is None else OrgId(found)


async def add_org(tx: WriteTx, *, name: str, at: datetime) -> OrgId:
    """Make an organisation. Raises InvalidRequest when the name is taken."""
    made = org_id()
    row = insert(OrganisationRow).values(id=made, name=name, created_at=at)
    try:
        await tx.execute(row)
    except IntegrityError:
        raise InvalidRequest("name", f"there is an organisation called {name!r}") from None
    return made


async def join_org(tx: WriteTx, tenant: TenantId, org: OrgId | None) -> None:
    """Let a tenant belong to an organisation, or to none; its running solves stay as they are."""
    await tx.execute(update(TenantRow).where(TenantRow.id == tenant).values(org_id=org))


async def add_tenant(
    tx: WriteTx, *, name: str, policy: str, at: datetime, org: OrgId | None = None
) -> TenantId:
    """Make a tenant. Raises InvalidRequest when the name is taken."""
    made = tenant_id()
    row = insert(TenantRow).values(id=made, name=name, policy=policy, created_at=at, org_id=org)
    try:
        await tx.execute(row)
    except IntegrityError:
        raise InvalidRequest("name", f"there is a tenant called {name!r} already") from None
    return made


async def find_project(tx: ReadTx, tenant: TenantId, name: str) -> ProjectId | None:
    """The id of the tenant's project of that name."""
    query = select(ProjectRow.id).where(ProjectRow.tenant_id == tenant, ProjectRow.name == name)
    found = await tx.scalar(query)
    return None if found is None else ProjectId(found)


async def add_project(
    tx: WriteTx, *, tenant: TenantId, name: str, at: datetime, cost_center: str | None = None
) -> ProjectId:
    """Make a project. Raises InvalidRequest when the tenant has one of that name."""
    made = project_id()
    row = insert(ProjectRow).values(
        id=made, tenant_id=tenant, name=name, created_at=at, cost_center=cost_center
    )
    try:
        await tx.execute(row)
    except IntegrityError:
        raise InvalidRequest("name", f"the tenant has a project called {name!r}") from None
    return made


async def add_key(
    tx: WriteTx,
    *,
    tenant: TenantId,
    project: ProjectId | None,
    name: str,
    at: datetime,
    cost_center: str | None = None,
) -> NewKey:
    """Make a key; its text exists only in what this returns."""
    made = keys.mint()
    await tx.execute(
        insert(KeyRow).values(
            id=made.id,
            tenant_id=tenant,
            project_id=project,
            name=name,
            sha256=made.sha256,
            created_at=at,
            cost_center=cost_center,
        )
    )
    return made


async def bind_project(tx: WriteTx, project: ProjectId, cost_center: str | None) -> None:
    """Bind a project's solves from now on to a cost center, or to none."""
    bound = update(ProjectRow).where(ProjectRow.id == project)
    await tx.execute(bound.values(cost_center=cost_center))


async def bind_key(tx: WriteTx, key_id: KeyId, cost_center: str | None) -> None:
    """Bind a key's solves from now on to a cost center, or to its project's.

    Raises InvalidRequest for an unknown key.
    """
    bound = update(KeyRow).where(KeyRow.id == key_id).values(cost_center=cost_center)
    if await tx.scalar(bound.returning(KeyRow.id)) is None:
        raise InvalidRequest("key", f"there is no key {key_id!r}")


async def revoke_key(tx: WriteTx, key_id: KeyId) -> None:
    """End a key at once; running solves go on. Raises InvalidRequest for an unknown one."""
    revoked = await tx.scalar(
        update(KeyRow)
        .where(KeyRow.id == key_id)
        .values(revoked_at=func.coalesce(KeyRow.revoked_at, Clock()))
        .returning(KeyRow.id)
    )
    if revoked is None:
        raise InvalidRequest("key", f"there is no key {key_id!r}")


async def listed_tenants(tx: ReadTx) -> Sequence[tuple[str, str, str]]:
    """(id, name, policy) of every tenant, oldest first."""
    query = select(TenantRow.id, TenantRow.name, TenantRow.policy).order_by(TenantRow.id)
    return [(made, name, policy) for made, name, policy in await tx.execute(query)]


async def listed_orgs(tx: ReadTx) -> Sequence[tuple[str, str, str]]:
    """(id, name, names of its tenants) of every organisation, oldest first."""
    orgs = (await tx.execute(select(OrganisationRow.id, OrganisationRow.name))).all()
    members = select(TenantRow.org_id, TenantRow.name).where(TenantRow.org_id.is_not(None))
    belong = (await tx.execute(members.order_by(TenantRow.id))).all()
    return [
        (made, name, ", ".join(tenant for org, tenant in belong if org == made))
        for made, name in sorted(orgs)
    ]


async def listed_keys(tx: ReadTx, tenant: TenantId) -> Sequence[tuple[str, str, str, bool]]:
    """(id, name, project, revoked) of a tenant's keys, oldest first."""
    query = (
        select(KeyRow.id, KeyRow.name, func.coalesce(ProjectRow.name, "-"), KeyRow.revoked_at)
        .outerjoin(ProjectRow, ProjectRow.id == KeyRow.project_id)
        .where(KeyRow.tenant_id == tenant)
        .order_by(KeyRow.id)
    )
    rows = await tx.execute(query)
    return [(made, name, project, ended is not None) for made, name, project, ended in rows]
