"""What an operator does over HTTP: organisations, tenants, projects, keys, budgets, limits.

Closed with the key of FATHOM_ADMIN_KEY; where none is set, nothing is there. Not in the published
document, which is for tenants.
"""

import hmac
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from app.accounts import (
    Allowance,
    Scope,
    open_key,
    open_org,
    open_project,
    open_tenant,
    raise_budget,
    set_budget,
    set_limits,
)
from app.api.returns import From, To, document, operators, span
from app.api.schemas import Usd
from app.api.state import Operator, services
from app.db.engine import Database, WriteTx
from app.errors import InvalidRequest
from app.ids import KeyId
from app.ledger.budgets import TEN_THOUSAND
from app.ledger.levels import current_levels
from app.ledger.periods import Period
from app.ledger.quotas import Unit
from app.money import from_usd, to_usd
from app.solve.benefit import GroupBy
from app.tenants.directory import (
    Unauthenticated,
    find_tenant,
    listed_keys,
    listed_tenants,
    revoke_key,
)

NO_STORE: Final = {"Cache-Control": "no-store"}


def _operator(request: Request) -> Operator:
    """The operator, once its key was found to be right, in a time that tells nothing of it."""
    operator = services(request).operator
    if operator is None:
        raise HTTPException(404, "Not Found")
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        key.strip().encode(), operator.key.encode()
    ):
        raise Unauthenticated
    return operator


def _database(operator: Annotated[Operator, Depends(_operator)]) -> Database:
    return operator.database


router = APIRouter(prefix="/admin/v1", include_in_schema=False)
Operated = Annotated[Database, Depends(_database)]
"""A route that takes one of these is closed to everybody but the operator."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RungBody(_Body):
    """From which part of a limit on which mode alone is run."""

    at: Annotated[float, Field(gt=0, le=1)]
    mode: Literal["single"]


class AllowanceBody(_Body):
    """So much a period."""

    limit_usd: Usd = "10"
    period: Period = Period.DAY
    timezone: str = "UTC"
    ladder: Annotated[list[RungBody], Field(max_length=1)] = Field(default_factory=list[RungBody])

    def allowance(self) -> Allowance:
        """The same, in the words of the ledger."""
        single_from = round(self.ladder[0].at * TEN_THOUSAND) if self.ladder else None
        return Allowance(from_usd(self.limit_usd), self.period, self.timezone, single_from)


class NamedBody(AllowanceBody):
    """An organisation or a project."""

    name: str


class TenantBody(NamedBody):
    """A tenant."""

    policy: str = "default"
    org: str | None = None


class KeyBody(AllowanceBody):
    """A key."""

    name: str = "default"
    project: str | None = None


class ScopeBody(_Body):
    """Whom a rule bounds: `owner` is the tenant's name, or the organisation's."""

    owner: str
    scope: Scope = Scope.TENANT
    scope_id: Annotated[str | None, Field(description="A project's name, a key's id.")] = None


class BudgetBody(AllowanceBody, ScopeBody):
    """A budget, in place of the one for such periods."""


class RaiseBody(ScopeBody):
    """A raise of a budget for a while."""

    by_usd: Usd
    until: datetime
    reason: str
    period: Period | None = None


class LimitsBody(ScopeBody):
    """Limits; one that is null is lifted, one that is not named stays as it is."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


@router.post("/orgs")
async def create_org(database: Operated, body: NamedBody) -> JSONResponse:
    """Make an organisation."""
    made = await open_org(database, name=body.name, allowance=body.allowance())
    return _made({"id": made, "name": body.name})


@router.get("/tenants")
async def list_tenants(database: Operated) -> JSONResponse:
    """Every tenant, oldest first."""
    async with database.read() as tx:
        rows = await listed_tenants(tx)
    return _list([{"id": made, "name": name, "policy": policy} for made, name, policy in rows])


@router.post("/tenants")
async def create_tenant(database: Operated, body: TenantBody) -> JSONResponse:
    """Make a tenant; its first key is shown once."""
    made = await open_tenant(
        database, name=body.name, policy=body.policy, allowance=body.allowance(), org=body.org
    )
    return _made({"id": made.tenant_id, "key_id": made.key_id, "key": made.key})


@router.post("/tenants/{tenant}/projects")
async def create_project(database: Operated, tenant: str, body: NamedBody) -> JSONResponse:
    """Make a project of a tenant."""
    await open_project(database, tenant=tenant, name=body.name, allowance=body.allowance())
    return _made({"tenant": tenant, "name": body.name})


@router.get("/tenants/{tenant}/keys")
async def list_keys(database: Operated, tenant: str) -> JSONResponse:
    """A tenant's keys, never their secrets."""
    async with database.read() as tx:
        found = await find_tenant(tx, tenant)
        if found is None:
            raise InvalidRequest("tenant", f"there is no tenant called {tenant!r}")
        rows = await listed_keys(tx, found)
    names = ("id", "name", "project", "revoked")
    return _list([dict(zip(names, row, strict=True)) for row in rows])


@router.post("/tenants/{tenant}/keys")
async def create_key(database: Operated, tenant: str, body: KeyBody) -> JSONResponse:
    """Make another key of a tenant; it is shown once."""
    made = await open_key(
        database, tenant=tenant, name=body.name, allowance=body.allowance(), project=body.project
    )
    return _made({"id": made.key_id, "key": made.key})


@router.post("/keys/{key_id}/revoke")
async def end_key(database: Operated, key_id: str) -> JSONResponse:
    """End a key at once; solves that run go on."""

    async def end(tx: WriteTx) -> None:
        await revoke_key(tx, KeyId(key_id))

    await database.write(end)
    return JSONResponse({"id": key_id, "revoked": True}, headers=NO_STORE)


@router.get("/usage/roi")
async def read_returns(
    request: Request,
    database: Operated,
    group_by: GroupBy = GroupBy.TENANT,
    start: From = None,
    end: To = None,
) -> JSONResponse:
    """What the gate has brought all tenants, and what the platform bears for it."""
    del database  # that it is the operator who asks
    since, until = span(start, end)
    found = await services(request).benefit.report(
        group_by=group_by, start=since, end=until, tenant_id=None
    )
    told = document(found, group_by, since, until) | operators(found)
    return JSONResponse(told, headers=NO_STORE)


@router.get("/tenants/{tenant}/budgets")
async def list_budgets(database: Operated, tenant: str) -> JSONResponse:
    """Every budget of a tenant in its current period."""
    async with database.read() as tx:
        found = await find_tenant(tx, tenant)
        if found is None:
            raise InvalidRequest("tenant", f"there is no tenant called {tenant!r}")
        levels = await current_levels(tx, found)
    return _list(
        [
            {
                "scope": level.scope,
                "scope_id": level.scope_id,
                "period": level.period,
                "timezone": level.timezone,
                "limit_usd": to_usd(level.limit),
                "spent_usd": to_usd(level.posted),
                "held_usd": to_usd(level.reserved),
                "remaining_usd": to_usd(level.available),
                "resets_at": level.resets_at_s,
            }
            for level in levels
        ]
    )


@router.put("/budgets")
async def change_budget(database: Operated, body: BudgetBody) -> JSONResponse:
    """Set a budget."""
    await set_budget(
        database,
        tenant=body.owner,
        scope=body.scope,
        name=body.scope_id,
        allowance=body.allowance(),
    )
    return JSONResponse(body.model_dump(mode="json"), headers=NO_STORE)


@router.post("/budgets/raises")
async def create_raise(database: Operated, body: RaiseBody) -> JSONResponse:
    """Raise a budget until an instant."""
    if body.until.tzinfo is None:
        raise InvalidRequest("until", "add a zone, such as 2026-11-22T00:00Z")
    await raise_budget(
        database,
        tenant=body.owner,
        scope=body.scope,
        name=body.scope_id,
        period=body.period,
        by=from_usd(body.by_usd),
        until=body.until,
        reason=body.reason,
    )
    return _made(body.model_dump(mode="json"))


@router.put("/limits")
async def change_limits(database: Operated, body: LimitsBody) -> JSONResponse:
    """Set limits of requests, tokens and solves at once."""
    named = {
        "requests_per_minute": Unit.REQUESTS,
        "tokens_per_minute": Unit.TOKENS,
        "concurrency": Unit.CONCURRENT,
    }
    chosen: dict[str, int | None] = body.model_dump(include=body.model_fields_set & named.keys())
    await set_limits(
        database,
        tenant=body.owner,
        scope=body.scope,
        name=body.scope_id,
        limits={named[name]: most for name, most in chosen.items()},
    )
    return JSONResponse(body.model_dump(mode="json"), headers=NO_STORE)


def _made(document: dict[str, Any]) -> JSONResponse:
    return JSONResponse(document, 201, NO_STORE)


def _list(rows: list[dict[str, Any]]) -> JSONResponse:
    return JSONResponse({"object": "list", "data": rows}, headers=NO_STORE)
