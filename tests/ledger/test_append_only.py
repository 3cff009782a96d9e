import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from app.db.engine import Database, WriteTx
from app.ledger.ledger import Ledger
from app.ledger.price import Price
from app.ledger.tables import Entry, PriceRow
from app.money import NanoUSD
from tests.backends import REAL, account
from tests.ledger.books import answered, call, opening

PRICE = Price("scripted", "cheap-1", NanoUSD(1_000), NanoUSD(10_000))


async def write(database: Database) -> None:
    """A price, and the entries of a call."""
    ledger = Ledger(database)
    await ledger.register(PRICE)
    claim = await ledger.hold(opening(await account(database), 100))
    await call(ledger, claim, answered(30), max_cost=70)


async def contents(database: Database, table: type[Entry | PriceRow]) -> list[tuple[object, ...]]:
    """Every row."""
    async with database.read() as tx:
        found = await tx.execute(select(table.__table__).order_by(*table.__table__.primary_key))
        return [tuple(row) for row in found.all()]


@pytest.mark.parametrize("table", [Entry, PriceRow])
async def test_what_was_written_is_neither_changed_nor_deleted(
    database: Database, table: type[Entry | PriceRow]
) -> None:
    """By any statement: the database itself refuses."""
    await write(database)
    before = await contents(database, table)
    assert len(before) == 2
    column = "amount" if table is Entry else "nano_per_million"
    for statement in (update(table).values({column: 0}), delete(table)):

        async def work(tx: WriteTx, statement: object = statement) -> None:
            await tx.execute(statement)  # type: ignore[call-overload] # either of two statements

        with pytest.raises(DBAPIError, match="append-only"):
            await database.write(work)
    assert await contents(database, table) == before


@pytest.mark.parametrize("database_url", [REAL], indirect=True)
@pytest.mark.parametrize("table", ["entry", "price", "budget_raise", "tenant, solve"])
async def test_append_only_tables_are_not_emptied_at_a_stroke(
    database: Database, table: str
) -> None:
    """Nor by emptying a table that they refer to."""
    await write(database)

    async def work(tx: WriteTx) -> None:
        await tx.execute(text(f"TRUNCATE {table} CASCADE"))

    with pytest.raises(DBAPIError, match="append-only"):
        await database.write(work)
    assert len(await contents(database, Entry)) == 2


async def test_price_registered_again_is_the_same_price(database: Database) -> None:
    """By each replica that starts; another rate is another version."""
    ledger = Ledger(database)
    for _ in range(2):
        await ledger.register(PRICE)
    await ledger.register(Price("scripted", "cheap-1", NanoUSD(2_000), NanoUSD(10_000)))
    versions = select(func.count(func.distinct(PriceRow.version)), func.count())
    async with database.read() as tx:
        assert tuple((await tx.execute(versions)).one()) == (2, 4)


async def test_negative_price_is_never_kept(database: Database) -> None:
    """It would pay for being used."""

    async def work(tx: WriteTx) -> None:
        await tx.execute(
            insert(PriceRow).values(
                version="prc_1",
                unit="input",
                provider="scripted",
                model="cheap-1",
                nano_per_million=-1,
                valid_from=func.now(),
            )
        )

    with pytest.raises(DBAPIError, match="ck_price_rate"):
        await database.write(work)
