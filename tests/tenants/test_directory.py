import pytest
from sqlalchemy import func, select

from app.accounts import Allowance, NewAccount, open_key, open_tenant
from app.db.engine import Database, WriteTx
from app.ids import KeyId
from app.tenants.directory import Directory, Unauthenticated, revoke_key
from app.tenants.keys import mint
from app.tenants.tables import KeyRow


async def acme(database: Database) -> NewAccount:
    """A tenant."""
    return await open_tenant(database, name="acme", policy="careful", allowance=Allowance())


async def revoke(database: Database, key_id: KeyId) -> None:
    """End a key."""

    async def work(tx: WriteTx) -> None:
        await revoke_key(tx, key_id)

    await database.write(work)


async def test_key_names_its_tenant_and_policy(database: Database) -> None:
    """And itself, for its own budget."""
    made = await acme(database)
    found = await Directory(database).authenticate(made.key)
    assert (found.id, found.key_id) == (made.tenant_id, made.key_id)
    assert (found.name, found.policy) == ("acme", "careful")


async def test_only_the_whole_key_is_let_in(database: Database) -> None:
    """A known id with another secret, another id with a known secret, and anything else are not."""
    made = await acme(database)
    prefix, key_id, secret = made.key.split("_", 2)
    directory = Directory(database)
    for wrong in (
        "",
        made.key[:-1],
        f"{made.key}x",
        made.key.upper(),
        f"{prefix}_{key_id}_{mint().text.split('_', 2)[2]}",
        f"{prefix}_{mint().id}_{secret}",
        mint().text,
        "Bearer",
        f"{prefix}_{key_id}\0_{secret}",
        f"{prefix}_{'x' * 10_000}_{secret}",
    ):
        with pytest.raises(Unauthenticated):
            await directory.authenticate(wrong)


async def test_refusal_does_not_say_what_was_wrong(database: Database) -> None:
    """An unknown key and a wrong secret are told apart by nobody."""
    made = await acme(database)
    told: set[str] = set()
    for wrong in (mint().text, f"{made.key[:-4]}AAAA", "nonsense"):
        with pytest.raises(Unauthenticated) as refused:
            await Directory(database).authenticate(wrong)
        told.add(str(refused.value))
    assert len(told) == 1


async def test_revoked_key_is_let_in_no_more(database: Database) -> None:
    """At once, and only that key."""
    made = await acme(database)
    second = await open_key(database, tenant="acme", name="second", allowance=Allowance())
    await revoke(database, made.key_id)
    with pytest.raises(Unauthenticated):
        await Directory(database).authenticate(made.key)
    assert (await Directory(database).authenticate(second.key)).id == made.tenant_id


async def test_key_stays_revoked_since_the_first_time(database: Database) -> None:
    """A repeat is harmless."""
    made = await acme(database)
    since = select(KeyRow.revoked_at).where(KeyRow.id == made.key_id)
    await revoke(database, made.key_id)
    async with database.read() as tx:
        first = await tx.scalar(since)
    await revoke(database, made.key_id)
    async with database.read() as tx:
        assert await tx.scalar(since) == first is not None


async def test_secret_is_nowhere_in_the_database(database: Database) -> None:
    """What is stored lets nobody in."""
    made = await acme(database)
    secret = made.key.split("_", 2)[2]
    query = select(KeyRow.id, KeyRow.name, KeyRow.sha256)
    async with database.read() as tx:
        row = (await tx.execute(query)).one()
        assert await tx.scalar(select(func.count()).select_from(KeyRow)) == 1
    assert all(secret not in column for column in row)
    with pytest.raises(Unauthenticated):
        await Directory(database).authenticate(f"fathom_{made.key_id}_{row[2]}")
