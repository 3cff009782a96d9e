import asyncio
import socket
import threading

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError

from app.db.clock import Ago, Clock, now
from app.db.engine import Database, DatabaseUnavailable, ReadTx, WriteTx
from app.tenants.tables import TenantRow
from tests.backends import REAL, SQLITE, opened


async def add(tx: WriteTx, name: str) -> None:
    """A row."""
    await tx.execute(
        insert(TenantRow).values(id=f"tnt_{name}", name=name, policy="x", created_at=Clock())
    )


async def rename(tx: WriteTx, row: str, name: str) -> None:
    """Change a row, and so lock it."""
    changed = update(TenantRow).where(TenantRow.id == f"tnt_{row}").values(policy=name)
    await tx.execute(changed)


async def names(tx: ReadTx) -> list[str]:
    """Every row."""
    return list((await tx.execute(select(TenantRow.name).order_by(TenantRow.name))).scalars())


async def stored(database: Database) -> list[str]:
    """Every row that was committed."""
    async with database.read() as tx:
        return await names(tx)


async def add_both(database: Database) -> None:
    """Two rows, to be locked."""

    async def work(tx: WriteTx) -> None:
        await add(tx, "a")
        await add(tx, "b")

    await database.write(work)


async def test_exception_rolls_back_and_passes_untouched(database: Database) -> None:
    """Nothing of the transaction stays."""

    async def work(tx: WriteTx) -> None:
        await add(tx, "a")
        raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller"):
        await database.write(work)
    assert await stored(database) == []


async def test_refused_constraint_rolls_back(database: Database) -> None:
    """The statements before it too."""

    async def work(tx: WriteTx) -> None:
        await add(tx, "a")
        await add(tx, "b")
        await add(tx, "a")

    with pytest.raises(IntegrityError):
        await database.write(work)
    assert await stored(database) == []


@pytest.mark.parametrize("turns", [1, 2, 5, 20])
async def test_cancellation_of_a_write_waits_for_its_end(database: Database, turns: int) -> None:
    """Whenever it comes, and however often: a whole transaction, and no other is harmed."""
    cancelled = asyncio.Event()

    async def work(tx: WriteTx) -> None:
        await add(tx, "first")
        await cancelled.wait()
        await add(tx, "second")

    task = asyncio.create_task(database.write(work))
    for _ in range(turns):
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stored(database) == ["first", "second"]
    await add_both(database)


async def test_read_sees_one_state_however_long_it_lasts(database: Database) -> None:
    """What others commit meanwhile is not seen in half."""
    await add_both(database)
    async with database.read() as tx:
        before = await names(tx)

        async def work(tx: WriteTx) -> None:
            await add(tx, "c")

        await database.write(work)
        assert await names(tx) == before
    assert await stored(database) == ["a", "b", "c"]


@pytest.mark.parametrize("database_url", [REAL], indirect=True)
async def test_read_cannot_write(database: Database) -> None:
    """What the types already say."""
    with pytest.raises(DatabaseUnavailable):
        async with database.read() as tx:
            await add(WriteTx(tx), "a")
    assert await stored(database) == []
    await add_both(database)


@pytest.mark.parametrize("database_url", [REAL], indirect=True)
async def test_deadlock_is_resolved_by_starting_over(database: Database) -> None:
    """Of two that lock two rows in opposite order both succeed, one of them at a second try."""
    await add_both(database)
    locked = asyncio.Barrier(2)
    tries: list[str] = []

    async def lock(tx: WriteTx, first: str, second: str) -> None:
        tries.append(first)
        await rename(tx, first, f"by {first}")
        if len(tries) <= 2:
            await locked.wait()  # both hold their first row now
        await rename(tx, second, f"by {first}")

    await asyncio.gather(
        database.write(lambda tx: lock(tx, "a", "b")),
        database.write(lambda tx: lock(tx, "b", "a")),
    )
    assert sorted(tries[:2]) == ["a", "b"]
    assert len(tries) == 3
    async with database.read() as tx:
        policies = set((await tx.execute(select(TenantRow.policy))).scalars())
    assert policies == {f"by {tries[2]}"}


@pytest.mark.parametrize("database_url", [REAL], indirect=True)
async def test_lost_connection_is_an_unavailable_database_once(database: Database) -> None:
    """The pool forgets it, and the next transaction has a new one."""
    await add_both(database)

    async def die(tx: WriteTx) -> None:
        await add(tx, "c")
        await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseUnavailable):
        await database.write(die)
    assert await stored(database) == ["a", "b"]


@pytest.mark.parametrize("database_url", [REAL], indirect=True)
@pytest.mark.parametrize("sqlstate", ["57P03", "53300", "08006"])
async def test_database_that_cannot_serve_now_is_unavailable(
    database: Database, sqlstate: str
) -> None:
    """Starting up, out of connections: what it says of itself is believed."""

    async def work(tx: WriteTx) -> None:
        await tx.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$"))

    with pytest.raises(DatabaseUnavailable):
        await database.write(work)


@pytest.mark.parametrize(
    "url",
    ["postgresql+asyncpg://nobody@127.0.0.1:{port}/none", "sqlite+aiosqlite:////no/such/file"],
)
async def test_database_that_is_not_there_is_unavailable(url: str) -> None:
    """For writing and for reading; nothing else is raised."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        port = unused.getsockname()[1]
        async with opened(url.format(port=port)) as database:
            with pytest.raises(DatabaseUnavailable):
                await database.write(lambda tx: add(tx, "a"))
            with pytest.raises(DatabaseUnavailable):
                await stored(database)
    # The driver's thread reports its failure a second time, and there must be a loop to hear it.
    for thread in threading.enumerate():
        if "connection_worker" in thread.name:
            await asyncio.to_thread(thread.join, 10)


async def test_writes_of_two_processes_wait_for_each_other(database_url: str) -> None:
    """Read, then write: none is lost, none is refused."""

    async def count_up(tx: WriteTx) -> None:
        query = select(TenantRow.policy).where(TenantRow.id == "tnt_a").with_for_update()
        counted = int(await tx.scalar(query) or 0)
        await asyncio.sleep(0)
        await rename(tx, "a", str(counted + 1))

    async with opened(database_url) as one, opened(database_url) as other:
        await add_both(one)
        await one.write(lambda tx: rename(tx, "a", "0"))
        await asyncio.gather(*((one, other)[n % 2].write(count_up) for n in range(40)))
        async with one.read() as tx:
            query = select(TenantRow.policy).where(TenantRow.id == "tnt_a")
            assert await tx.scalar(query) == "40"


@pytest.mark.parametrize("database_url", [SQLITE], indirect=True)
async def test_processes_that_open_a_file_at_once_all_can(database_url: str) -> None:
    """Also while one of them writes."""
    async with opened(database_url) as first:
        await add_both(first)
        started = asyncio.Event()

        async def slow(tx: WriteTx) -> None:
            await add(tx, "c")
            started.set()
            await asyncio.sleep(0.2)

        writing = asyncio.create_task(first.write(slow))
        await started.wait()

        async def join(name: str) -> list[str]:
            async with opened(database_url) as database:
                await database.write(lambda tx: add(tx, name))
                return await stored(database)

        found = await asyncio.gather(*(join(f"later-{n}") for n in range(4)))
        await writing
    assert all({"a", "b", "c"} <= set(one) for one in found)


async def test_clock_moves_forward_and_is_aware(database: Database) -> None:
    """Both databases keep what it says, in an order that text sorts by."""
    async with database.read() as tx:
        first = await now(tx)
        assert first.utcoffset() is not None
        await asyncio.sleep(0.01)
        assert await now(tx) > first
        ago, ahead = (await tx.execute(select(Ago(60.0), Ago(-60.0)))).one()
    assert 59 < (first - ago).total_seconds() < 61
    assert 59 < (ahead - first).total_seconds() < 61


async def test_instants_compare_as_the_database_keeps_them(database: Database) -> None:
    """A stored time against the clock, to the millisecond, whatever wrote it."""

    async def work(tx: WriteTx) -> None:
        at = await now(tx)
        for name, made in (("a", at), ("b", at.replace(microsecond=0)), ("c", Clock())):
            row = insert(TenantRow).values(id=f"tnt_{name}", name=name, policy="x", created_at=made)
            await tx.execute(row)

    await database.write(work)
    await asyncio.sleep(0.01)
    async with database.read() as tx:
        past = select(TenantRow.name).where(TenantRow.created_at < Clock())
        assert len((await tx.execute(past)).all()) == 3
        recent = select(TenantRow.name).where(TenantRow.created_at > Ago(60.0))
        assert len((await tx.execute(recent)).all()) == 3
        at = await tx.scalar(select(TenantRow.created_at).where(TenantRow.id == "tnt_b"))
        assert at is not None
        assert (at.microsecond, at.utcoffset() is not None) == (0, True)
