"""Tenants and keys in the database: make them, and find out who is asking."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from app.db.engine import Database, ReadTx, WriteTx
from app.errors import GatewayError, InvalidRequest
from app.ids import KeyId, TenantId, tenant_id
from app.tenants import keys
from app.tenants.keys import NewKey
from app.tenants.tables import KeyRow, TenantRow


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who is asking, by which key, under which policy."""

    id: TenantId
    name: str
    key_id: KeyId
    policy: str


class Unauthenticated(GatewayError):
    """No valid key. Says nothing about which part was wrong."""

    def __init__(self) -> None:
        super().__init__("send a valid key in the header `Authorization: Bearer <key>`")


class Directory:
    """Finds tenants by their keys."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def authenticate(self, key: str) -> Tenant:
        """The tenant of a key. Raises Unauthenticated for an unknown or revoked one."""
        key_id = keys.public_id(key)
        if key_id is None:
            raise Unauthenticated
        query = (
            select(KeyRow.sha256, TenantRow.id, TenantRow.name, TenantRow.policy)
            .join(TenantRow, TenantRow.id == KeyRow.tenant_id)
            .where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None))
        )
        async with self._db.read() as tx:
            row = (await tx.execute(query)).one_or_none()
        if row is None or not keys.matches(key, row[0]):
            raise Unauthenticated
        return Tenant(TenantId(row[1]), row[2], key_id, row[3])


async def find_tenant(tx: ReadTx, name: str) -> TenantId | None:
    """The id of the tenant of that name."""
    found = await tx.scalar(select(TenantRow.id).where(TenantRow.name == name))
    return None if found is None else TenantId(found)


async def add_tenant(tx: WriteTx, *, name: str, policy: str, at: datetime) -> TenantId:
    """Make a tenant. Raises InvalidRequest when the name is taken."""
    if await find_tenant(tx, name) is not None:
        raise InvalidRequest("name", f"there is a tenant called {name!r} already")
    made = tenant_id()
    await tx.execute(insert(TenantRow).values(id=made, name=name, policy=policy, created_at=at))
    return made


async def add_key(tx: WriteTx, *, tenant: TenantId, name: str, at: datetime) -> NewKey:
    """Make a key; its text exists only in what this returns."""
    made = keys.mint()
    await tx.execute(
        insert(KeyRow).values(
            id=made.id, tenant_id=tenant, name=name, sha256=made.sha256, created_at=at
        )
    )
    return made
