import asyncio

import pytest
from sqlalchemy import func, select

from app.accounts import Allowance, open_key, open_tenant
from app.db.engine import Database
from app.errors import InvalidRequest
from app.ids import uuid7
from app.ledger.periods import Period
from app.ledger.tables import BudgetRule
from app.money import NanoUSD, from_usd
from app.tenants.directory import Directory
from app.tenants.tables import KeyRow, TenantRow

DOLLAR = Allowance(from_usd("1"), Period.MONTH, "Europe/Berlin")


async def count(database: Database, table: type[TenantRow | KeyRow | BudgetRule]) -> int:
    """How many rows there are."""
    async with database.read() as tx:
        return int(await tx.scalar(select(func.count()).select_from(table)) or 0)


async def test_tenant_comes_with_a_key_and_a_budget_for_each(database: Database) -> None:
    """The key authenticates, and both scopes are bounded."""
    made = await open_tenant(database, name="acme", policy="default", allowance=DOLLAR)
    found = await Directory(database).authenticate(made.key)
    assert (found.id, found.key_id, found.name) == (made.tenant_id, made.key_id, "acme")
    rules = select(
        BudgetRule.scope,
        BudgetRule.scope_id,
        BudgetRule.period,
        BudgetRule.timezone,
        BudgetRule.limit_nano,
    ).order_by(BudgetRule.scope.desc())
    async with database.read() as tx:
        rows = [tuple(row) for row in (await tx.execute(rules)).all()]
    assert rows == [
        ("tenant", made.tenant_id, "month", "Europe/Berlin", from_usd("1")),
        ("key", made.key_id, "month", "Europe/Berlin", from_usd("1")),
    ]


async def test_another_key_is_the_same_tenants(database: Database) -> None:
    """With a budget of its own."""
    first = await open_tenant(database, name="acme", policy="default", allowance=DOLLAR)
    second = await open_key(database, tenant="acme", name="laptop", allowance=DOLLAR)
    assert second.tenant_id == first.tenant_id
    assert second.key_id != first.key_id
    assert (await Directory(database).authenticate(second.key)).id == first.tenant_id
    assert await count(database, BudgetRule) == 3


async def test_taken_name_leaves_nothing_behind(database: Database) -> None:
    """No second tenant, and no key or budget of one."""
    await open_tenant(database, name="acme", policy="default", allowance=DOLLAR)
    with pytest.raises(InvalidRequest, match="acme"):
        await open_tenant(database, name="acme", policy="default", allowance=DOLLAR)
    assert await count(database, TenantRow) == 1
    assert await count(database, KeyRow) == 1
    assert await count(database, BudgetRule) == 2


async def test_of_tenants_opened_at_once_under_one_name_one_is_made(database: Database) -> None:
    """The others are refused as if they had come later."""
    made = await asyncio.gather(
        *(open_tenant(database, name="acme", policy="x", allowance=DOLLAR) for _ in range(8)),
        return_exceptions=True,
    )
    refused = [one for one in made if isinstance(one, BaseException)]
    assert [type(one) for one in refused] == [InvalidRequest] * 7
    assert await count(database, TenantRow) == 1


async def test_key_of_an_unknown_tenant_is_refused(database: Database) -> None:
    """And none is made."""
    with pytest.raises(InvalidRequest, match="nobody"):
        await open_key(database, tenant="nobody", name="x", allowance=DOLLAR)
    assert await count(database, KeyRow) == 0


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "nul\0", "line\nbreak", "\ud83d"])
async def test_name_that_no_column_could_keep_is_refused(database: Database, name: str) -> None:
    """On both databases alike, for tenants and for keys."""
    with pytest.raises(InvalidRequest, match="name"):
        await open_tenant(database, name=name, policy="default", allowance=DOLLAR)
    tenant = f"tenant-{uuid7().hex}"
    await open_tenant(database, name=tenant, policy="default", allowance=DOLLAR)
    with pytest.raises(InvalidRequest, match="name"):
        await open_key(database, tenant=tenant, name=name, allowance=DOLLAR)


@pytest.mark.parametrize(
    "timezone", ["", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/passwd", "tzdata.zi", "a\0"]
)
def test_what_is_no_time_zone_is_refused(timezone: str) -> None:
    """Also the names of other files beside the zones."""
    with pytest.raises(InvalidRequest, match="timezone"):
        Allowance(timezone=timezone)


def test_negative_limit_is_refused() -> None:
    """Zero is a limit: it allows what is free."""
    with pytest.raises(InvalidRequest, match="limit"):
        Allowance(limit=NanoUSD(-1))
    assert Allowance(limit=NanoUSD(0)).limit == 0
