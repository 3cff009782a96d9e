"""The gauges that describe the database, on SQLite and on PostgreSQL."""

import asyncio

from app.accounts import Allowance, Scope, open_tenant, set_budget
from app.db.engine import Database
from app.ledger import journal
from app.ledger.budgets import Account
from app.ledger.ledger import Ledger
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd
from app.solve.watch import Watch
from app.telemetry.metrics import Metrics
from tests.ledger.books import answered, call, intent, opening
from tests.telemetry.results import metrics, series

DAILY = Allowance(from_usd("10"), Period.DAY)
BUDGET = 'period="day",scope="tenant",tenant="{}"'


async def make(database: Database, name: str) -> Account:
    """A tenant that may spend ten dollars a day."""
    made = await open_tenant(database, name=name, policy="default", allowance=DAILY)
    return Account(made.tenant_id, made.key_id)


async def read(database: Database, watched: Metrics) -> dict[str, float]:
    """The gauges now."""
    await Watch(database=database, metrics=watched).refresh()
    return series(watched)


async def test_gauges_say_what_is_held_and_spent(database: Database) -> None:
    """Of each tenant that is named; the others are added up."""
    ledger = Ledger(database)
    acme, _, other = [await make(database, name) for name in ("acme", "globex", "initech")]
    claim = await ledger.hold(opening(acme, from_usd("1"), cap=from_usd("5")))
    await call(ledger, claim, answered(from_usd("0.25")), max_cost=from_usd("0.5"))
    await ledger.hold(opening(other, from_usd("2"), cap=from_usd("5")))

    found = await read(database, metrics("acme", "nobody"))

    assert found[f"fathom_budget_limit_usd{{{BUDGET.format('acme')}}}"] == 10
    assert found[f"fathom_budget_reserved_usd{{{BUDGET.format('acme')}}}"] == 1
    assert found[f"fathom_budget_used_ratio{{{BUDGET.format('acme')}}}"] == 0.1
    assert found[f"fathom_budget_limit_usd{{{BUDGET.format('other')}}}"] == 20
    assert found[f"fathom_budget_reserved_usd{{{BUDGET.format('other')}}}"] == 2
    # The fullest, not the mean: that is where the next refusal comes from.
    assert found[f"fathom_budget_used_ratio{{{BUDGET.format('other')}}}"] == 0.2
    assert found["fathom_inflight_solves"] == 2
    assert found["fathom_holds_usd"] == 3
    assert found["fathom_orphan_calls"] == 0
    assert not [name for name in found if "globex" in name or "initech" in name]


async def test_a_budget_that_nobody_has_used_is_shown(database: Database) -> None:
    """Its first period opens with its first hold; its limit is there before."""
    await make(database, "acme")
    found = await read(database, metrics("*"))
    assert found[f"fathom_budget_limit_usd{{{BUDGET.format('acme')}}}"] == 10
    assert found[f"fathom_budget_used_ratio{{{BUDGET.format('acme')}}}"] == 0


async def test_every_period_of_a_scope_has_a_series(database: Database) -> None:
    """An hour that is full shows beside a month that is not."""
    account = await make(database, "acme")
    for n, period in enumerate(Period, start=4):
        allowance = Allowance(from_usd(str(n)), period, "Asia/Kolkata")
        await set_budget(
            database, tenant="acme", scope=Scope.TENANT, name=None, allowance=allowance
        )
    await Ledger(database).hold(opening(account, from_usd("2"), cap=from_usd("5")))

    found = await read(database, metrics("acme"))

    for n, period in enumerate(Period, start=4):
        labels = BUDGET.format("acme").replace("day", period)
        assert found[f"fathom_budget_limit_usd{{{labels}}}"] == n
        assert found[f"fathom_budget_used_ratio{{{labels}}}"] == 2 / n


async def test_orphans_are_counted(database: Database) -> None:
    """Calls whose process died before their outcome."""
    ledger, account = Ledger(database), await make(database, "acme")
    claim = await ledger.hold(opening(account, 1_000))
    for op in ("t1", "t2"):
        await ledger.intend(claim, intent(claim, op, max_cost=100), grow=NanoUSD(0))
    await database.write(lambda tx: journal.orphan_open(tx, [claim.solve_id]))

    found = await read(database, metrics())

    assert found["fathom_orphan_calls"] == 2


async def test_an_orphan_whose_cost_came_late_is_reconciled(database: Database) -> None:
    """Nothing of it is unknown any more."""
    ledger, account = Ledger(database), await make(database, "acme")
    claim = await ledger.hold(opening(account, 1_000))
    made = intent(claim, max_cost=100)
    await ledger.intend(claim, made, grow=NanoUSD(0))
    await database.write(lambda tx: journal.orphan_open(tx, [claim.solve_id]))
    await ledger.settle_call(claim, made, answered(30))

    found = await read(database, metrics())

    assert found["fathom_orphan_calls"] == 0


async def test_a_tenant_made_later_gets_its_series(database: Database) -> None:
    """Within one refresh."""
    watched = metrics("acme")
    assert not [name for name in await read(database, watched) if "acme" in name]
    account = await make(database, "acme")
    await read(database, watched)
    assert watched.tenant(account.tenant_id) == "acme"


async def test_watching_ends_when_it_is_told_to(database: Database) -> None:
    """Without waiting for the next refresh."""
    stop = asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(Watch(database=database, metrics=metrics()).run(stop))
        await asyncio.sleep(0.05)
        stop.set()


async def test_a_database_out_of_reach_leaves_the_gauges_as_they_are(database: Database) -> None:
    """And does not end the watch."""
    watched = metrics("acme")
    await make(database, "acme")
    before = await read(database, watched)
    gone = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    await Watch(database=gone, metrics=watched).refresh()
    await gone.aclose()
    after = series(watched)
    process = [name for name in before if name.startswith("process_")]
    assert {n: v for n, v in after.items() if n not in process} == {
        n: v for n, v in before.items() if n not in process
    }
