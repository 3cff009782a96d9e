"""The operator's commands for what may be spent: organisations, budgets, limits."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from app.accounts import (
    Allowance,
    Scope,
    move_tenant,
    open_org,
    raise_budget,
    set_budget,
    set_limits,
)
from app.db.engine import Database
from app.errors import InvalidRequest
from app.ledger.budgets import TEN_THOUSAND
from app.ledger.levels import current_levels
from app.ledger.periods import Period
from app.ledger.quotas import Unit
from app.money import to_usd
from app.operate import (
    LimitUsd,
    PeriodOption,
    TenantName,
    TimezoneOption,
    dollars,
    on_database,
    print_table,
)
from app.tenants.directory import find_org, find_tenant, listed_orgs

orgs = typer.Typer(help="Organisations, which tenants may belong to.", no_args_is_help=True)
budgets = typer.Typer(help="What may be spent.", no_args_is_help=True)

limits = typer.Typer(help="Requests, tokens and solves at once.", no_args_is_help=True)

Owner = Annotated[str, typer.Argument(help="The tenant's name; with --scope org, the org's.")]


@orgs.command("create")
def create_org(
    name: Annotated[str, typer.Argument(help="A name that no other organisation has.")],
    *,
    limit_usd: LimitUsd,
    period: PeriodOption = Period.DAY,
    timezone: TimezoneOption = "UTC",
) -> None:
    """Make an organisation with the budget that its tenants share."""
    allowance = Allowance(dollars(limit_usd), period, timezone)
    on_database(lambda database: open_org(database, name=name, allowance=allowance))


@orgs.command("list")
def list_orgs() -> None:
    """Every organisation and its tenants, oldest first."""

    async def work(database: Database) -> None:
        async with database.read() as tx:
            print_table(("id", "name", "tenants"), await listed_orgs(tx))

    on_database(work)


@orgs.command("add")
def add_to_org(
    org: Annotated[str, typer.Argument(help="The organisation's name.")], tenant: TenantName
) -> None:
    """Let a tenant belong to an organisation; solves that run go on as they began."""
    on_database(lambda database: move_tenant(database, tenant=tenant, org=org))


@orgs.command("remove")
def remove_from_org(tenant: TenantName) -> None:
    """Let a tenant belong to no organisation; solves that run go on as they began."""
    on_database(lambda database: move_tenant(database, tenant=tenant, org=None))


@budgets.command("set")
def change_budget(
    owner: Owner,
    *,
    limit_usd: Annotated[str, typer.Option(help="Dollars a period.")],
    period: Annotated[
        Period | None, typer.Option(help="Default: day; of a session, total.")
    ] = None,
    timezone: TimezoneOption = "UTC",
    scope: Annotated[Scope, typer.Option(help="Whose spending it bounds.")] = Scope.TENANT,
    name: Annotated[str | None, typer.Option(help="The project's name or the key's id.")] = None,
    ladder: Annotated[
        str | None,
        typer.Option(help='Such as "0.9:single": from there on only single calls; else none.'),
    ] = None,
) -> None:
    """Set a limit; one for another kind of period stands beside those there are."""
    usual = Period.TOTAL if scope is Scope.SESSION else Period.DAY
    allowance = Allowance(dollars(limit_usd), period or usual, timezone, _single_from(ladder))
    on_database(
        lambda database: set_budget(
            database, tenant=owner, scope=scope, name=name, allowance=allowance
        )
    )


@budgets.command("raise")
def raise_limit(
    owner: Owner,
    *,
    by_usd: Annotated[str, typer.Option(help="Dollars more a period.")],
    until: Annotated[str, typer.Option(help="An instant, such as 2026-11-22T00:00Z.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    scope: Annotated[Scope, typer.Option(help="Whose spending is bounded.")] = Scope.TENANT,
    name: Annotated[str | None, typer.Option(help="The project's name or the key's id.")] = None,
    period: Annotated[
        Period | None, typer.Option(help="Of several limits, the one to raise.")
    ] = None,
) -> None:
    """Raise a limit until an instant; raises add up, and each is kept for good."""
    ends, by = _instant(until), dollars(by_usd, option="by-usd")
    on_database(
        lambda database: raise_budget(
            database,
            tenant=owner,
            scope=scope,
            name=name,
            period=period,
            by=by,
            until=ends,
            reason=reason,
        )
    )


@budgets.command("list")
def list_budgets(
    owner: Owner,
    *,
    scope: Annotated[Scope, typer.Option(help="Whose budgets: tenant or org.")] = Scope.TENANT,
) -> None:
    """Every budget of a tenant or an organisation in its current period: limit, spent, left."""

    async def work(database: Database) -> None:
        async with database.read() as tx:
            is_org = scope is Scope.ORG
            found = await find_org(tx, owner) if is_org else await find_tenant(tx, owner)
            if found is None:
                kind = "organisation" if is_org else "tenant"
                raise InvalidRequest("tenant", f"there is no {kind} called {owner!r}")
            levels = await current_levels(tx, found)
        rows = [
            (
                level.scope,
                level.scope_id,
                level.period.value,
                level.timezone,
                *(f"${to_usd(amount)}" for amount in (level.limit, level.posted, level.reserved)),
                f"${to_usd(level.available)}",
            )
            for level in levels
        ]
        print_table(("scope", "id", "period", "zone", "limit", "spent", "held", "left"), rows)

    on_database(work)


@limits.command("set")
def change_limits(
    owner: Owner,
    *,
    requests_per_minute: Annotated[int | None, typer.Option()] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="At their worst case until a solve ends.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Solves at once.")] = None,
    scope: Annotated[Scope, typer.Option(help="Whose requests are counted.")] = Scope.TENANT,
    name: Annotated[str | None, typer.Option(help="The project's name or the key's id.")] = None,
) -> None:
    """Set limits; those that are not named stay as they are."""
    named = {
        Unit.REQUESTS: requests_per_minute,
        Unit.TOKENS: tokens_per_minute,
        Unit.CONCURRENT: concurrency,
    }
    chosen = {unit: most for unit, most in named.items() if most is not None}
    on_database(
        lambda database: set_limits(database, tenant=owner, scope=scope, name=name, limits=chosen)
    )


@limits.command("clear")
def clear_limits(
    owner: Owner,
    *,
    scope: Annotated[Scope, typer.Option(help="Whose requests are counted.")] = Scope.TENANT,
    name: Annotated[str | None, typer.Option(help="The project's name or the key's id.")] = None,
) -> None:
    """Lift all limits of a scope; its budgets stay."""
    units = (Unit.REQUESTS, Unit.TOKENS, Unit.CONCURRENT)
    on_database(
        lambda database: set_limits(
            database, tenant=owner, scope=scope, name=name, limits=dict.fromkeys(units)
        )
    )


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest("until", f"{text!r} is no instant in ISO 8601") from None
    if instant.tzinfo is None:
        raise InvalidRequest("until", "add a zone, such as 2026-11-22T00:00Z")
    return instant


def _single_from(ladder: str | None) -> int | None:
    if ladder is None:
        return None
    share, _, mode = ladder.partition(":")
    try:
        parts = Decimal(share) * TEN_THOUSAND
    except InvalidOperation:
        parts = Decimal("NaN")
    if mode != "single" or not parts.is_finite() or parts != int(parts):
        raise InvalidRequest("ladder", f"{ladder!r} is not of the form 0.9:single")
    return int(parts)
