"""What tenants of one organisation share: a budget on the path of each of their holds."""

import asyncio

import pytest
from sqlalchemy import select

from app.accounts import Allowance, Scope, move_tenant, open_org, open_tenant, set_budget
from app.db.engine import Database
from app.errors import InvalidRequest
from app.ids import OrgId, uuid7
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.periods import Period
from app.ledger.refusals import BudgetExceeded
from app.ledger.tables import Budget
from app.tenants.directory import Directory
from tests.backends import opened
from tests.ledger.books import answered, assert_books_hold, call, ending, nano, opening
from tests.ledger.test_concurrency import two_processes

WIDE = Allowance(nano(10**9), Period.TOTAL)


async def org_of(
    database: Database, limit: int, *, tenants: int = 2, period: Period = Period.TOTAL
) -> tuple[str, OrgId, list[Account]]:
    """An organisation that may spend `limit`, and tenants of it that may spend plenty."""
    name = f"org-{uuid7().hex}"
    org = await open_org(database, name=name, allowance=Allowance(nano(limit), period))
    members: list[Account] = []
    for _ in range(tenants):
        tenant = f"tenant-{uuid7().hex}"
        made = await open_tenant(database, name=tenant, policy="default", allowance=WIDE, org=name)
        members.append(Account(made.tenant_id, made.key_id, org_id=org))
    return name, org, members


async def level(database: Database, org: OrgId) -> tuple[int, int]:
    """(posted, reserved) of the organisation's one budget row."""
    query = select(Budget.posted, Budget.reserved).where(Budget.tenant_id == org)
    async with database.read() as tx:
        row = (await tx.execute(query)).one()
    return row[0], row[1]


async def test_tenants_of_an_organisation_share_its_budget(database: Database) -> None:
    """What one spends is gone for the other, and the refusal names the organisation."""
    _, org, (one, other) = await org_of(database, 100)
    ledger = Ledger(database)
    claim = await ledger.hold(opening(one, 60))
    await call(ledger, claim, answered(40), max_cost=50)
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.hold(opening(other, 41))
    assert (refused.value.scope, refused.value.available) == ("org", 40)
    await ledger.finish(claim, ending())
    assert await level(database, org) == (40, 0)
    await ledger.hold(opening(other, 60))
    assert await level(database, org) == (40, 60)
    await assert_books_hold(database)


async def test_hold_grows_only_as_far_as_the_organisation_allows(database: Database) -> None:
    """A growth is admitted like a hold."""
    _, org, (one, other) = await org_of(database, 100)
    ledger = Ledger(database)
    claim = await ledger.hold(opening(one, 10))
    await ledger.hold(opening(other, 50))
    with pytest.raises(BudgetExceeded) as refused:
        await call(ledger, claim, answered(1), max_cost=60, grow=50)
    assert refused.value.scope == "org"
    await call(ledger, claim, answered(1), max_cost=50, grow=40)
    assert await level(database, org) == (0, 100)
    await assert_books_hold(database)


async def test_key_leads_to_its_organisation(database: Database) -> None:
    """So that each request's hold is on its path; a tenant that leaves is bounded no more."""
    name = f"org-{uuid7().hex}"
    org = await open_org(database, name=name, allowance=WIDE)
    made = await open_tenant(database, name="acme", policy="default", allowance=WIDE, org=name)
    directory = Directory(database)
    assert (await directory.authenticate(made.key)).org_id == org
    await move_tenant(database, tenant="acme", org=None)
    assert (await directory.authenticate(made.key)).org_id is None
    await move_tenant(database, tenant="acme", org=name)
    assert (await directory.authenticate(made.key)).org_id == org
    with pytest.raises(InvalidRequest, match="no organisation"):
        await move_tenant(database, tenant="acme", org="nobody")


async def test_solve_ends_on_the_budgets_that_admitted_it(database: Database) -> None:
    """Whoever its tenant belongs to by then."""
    _, org, (one, _) = await org_of(database, 100)
    ledger = Ledger(database)
    claim = await ledger.hold(opening(one, 60))
    alone = Account(one.tenant_id, one.key_id)  # it has left
    after = await ledger.hold(opening(alone, 90))
    await ledger.finish(claim, ending())
    await ledger.finish(after, ending())
    assert await level(database, org) == (0, 0)
    await assert_books_hold(database)


async def test_organisations_limit_is_lowered_like_any_other(database: Database) -> None:
    """To what it has used, and further as that is given back."""
    name, org, (one, other) = await org_of(database, 100)
    ledger = Ledger(database)
    claim = await ledger.hold(opening(one, 80))
    tighter = Allowance(nano(30), Period.TOTAL)
    await set_budget(database, tenant=name, scope=Scope.ORG, name=None, allowance=tighter)
    await ledger.finish(claim, ending())
    with pytest.raises(BudgetExceeded):
        await ledger.hold(opening(other, 31))
    await ledger.hold(opening(other, 30))
    assert await level(database, org) == (0, 30)
    await assert_books_hold(database)


@pytest.mark.parametrize("period", [Period.TOTAL, Period.HOUR])
async def test_concurrent_holds_of_many_tenants_never_exceed_their_organisation(
    database_url: str, period: Period
) -> None:
    """Of 200 at once, by two processes, exactly as many as fit; never above it at any sample."""
    limit, hold = 1_000, 30
    async with opened(database_url) as watcher, two_processes(database_url) as both:
        _, org, members = await org_of(watcher, limit, tenants=4, period=period)
        ledgers = [Ledger(database) for database in both]
        await ledgers[0].hold(opening(members[0], hold))
        samples: list[tuple[int, int]] = []

        async def watch() -> None:
            while True:
                samples.append(await level(watcher, org))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        held = await asyncio.gather(
            *(ledgers[n % 2].hold(opening(members[n // 2 % 4], hold)) for n in range(199)),
            return_exceptions=True,
        )
        watching.cancel()
        refused = [one for one in held if isinstance(one, BaseException)]
        assert {type(one) for one in refused} == {BudgetExceeded}
        assert 200 - len(refused) == limit // hold
        assert len(samples) > 3
        assert all(sum(sample) <= limit for sample in samples)
        assert await level(watcher, org) == (0, limit // hold * hold)
        await assert_books_hold(watcher)
