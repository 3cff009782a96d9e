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
from app.ids import KeyId, ProjectId, TenantId, project_id, tenant_id
from app.tenants import keys
from app.tenants.keys import NewKey
from app.tenants.tables import KeyRow, ProjectRow, TenantRow


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who is asking, by which key, under which policy."""

    id: TenantId
    name: str
    project_id: ProjectId | None
    key_id: KeyId
    policy: str


class Unauthenticated(GatewayError):
    """No valid key. Says nothing about which part was wrong."""

    def __init__(self) -> None:
        super().__init__("send a valid key in the header `Authorization: Bearer <key>`")


_WHOSE_KEYS: Final = (
    select(
        KeyRow.id,
        KeyRow.sha256,
        KeyRow.project_id,
        TenantRow.id,
        TenantRow.name,
        TenantRow.policy,
    )
    .join(TenantRow, TenantRow.id == KeyRow.tenant_id)
    .where(KeyRow.id.in_(bindparam("keys", expanding=True)), KeyRow.revoked_at.is_(None))
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a key's id leads to; the key itself is yet to be compared."""

    sha256: str
    tenant: Tenant


def _found(  # noqa: PLR0917 - a row
    key: str, sha256: str, project: str | None, tenant: str, name: str, policy: str
) -> _Found:
    in_project = None if project is None else ProjectId(project)
    return _Found(sha256, Tenant(TenantId(tenant), name, in_project, KeyId(key), policy))


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


async def add_tenant(tx: WriteTx, *, name: str, policy: str, at: datetime) -> TenantId:
    """Make a tenant. Raises InvalidRequest when the name is taken."""
    made = tenant_id()
    row = insert(TenantRow).values(id=made, name=name, policy=policy, created_at=at)
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


async def add_project(tx: WriteTx, *, tenant: TenantId, name: str, at: datetime) -> ProjectId:
    """Make a project. Raises InvalidRequest when the tenant has one of that name."""
    made = project_id()
    row = insert(ProjectRow).values(id=made, tenant_id=tenant, name=name, created_at=at)
    try:
        await tx.execute(row)
    except IntegrityError:
        raise InvalidRequest("name", f"the tenant has a project called {name!r}") from None
    return made


async def add_key(
    tx: WriteTx, *, tenant: TenantId, project: ProjectId | None, name: str, at: datetime
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
        )
    )
    return made


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
