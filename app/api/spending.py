"""What may be spent and what was: `GET /v1/budgets`, `GET /v1/usage`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from app.accounts import Scope, account_of
from app.api.auth import Authenticated
from app.api.published import REFUSALS
from app.api.schemas import Session
from app.api.state import services
from app.errors import InvalidRequest
from app.ledger.levels import BudgetStatus
from app.ledger.quotas import Quota
from app.ledger.usage import GroupBy, UsageRow
from app.money import NanoUSD, to_usd

router = APIRouter(prefix="/v1", tags=["spending"], responses=REFUSALS)

NO_STORE: Final = {"Cache-Control": "no-store"}
WINDOW: Final = timedelta(days=30)


@router.get("/budgets", summary="Read the budgets of this key")
async def read_budgets(
    request: Request,
    tenant: Authenticated,
    session: Annotated[Session | None, Query(description="That a solve would name.")] = None,
) -> JSONResponse:
    """Every level that a solve of this key has to fit, in its current period.

    Of an organisation only what is left is shown: the rest would tell of its other tenants.
    """
    account, ledger = account_of(tenant, session=session), services(request).ledger
    document = {
        "object": "list",
        "data": [_budget(level) for level in await ledger.budgets(account)],
        "limits": [_limit(quota) for quota in await ledger.limits(account)],
    }
    return JSONResponse(document, headers=NO_STORE)


@router.get("/usage", summary="Read this tenant's usage")
async def read_usage(
    request: Request,
    tenant: Authenticated,
    group_by: GroupBy = GroupBy.EXPERT,
    start: Annotated[datetime | None, Query(description="Included; default: 30 days ago.")] = None,
    end: Annotated[datetime | None, Query(description="Excluded; default: now.")] = None,
) -> JSONResponse:
    """Calls, tokens and dollars of the tenant in a span of time, by group, dearest first."""
    until = datetime.now(UTC) if end is None else aware("end", end)
    since = until - WINDOW if start is None else aware("start", start)
    rows = await services(request).usage.report(
        tenant.id, group_by=group_by, start=since, end=until
    )
    document = {
        "object": "usage",
        "start": since.isoformat(),
        "end": until.isoformat(),
        "group_by": group_by,
        "data": [_usage(row) for row in rows],
        "total_usd": to_usd(NanoUSD(sum(row.cost for row in rows))),
    }
    return JSONResponse(document, headers=NO_STORE)


def _budget(level: BudgetStatus) -> dict[str, Any]:
    is_shared = level.scope == Scope.ORG
    return {
        "scope": level.scope,
        "period": level.period,
        "timezone": level.timezone,
        "limit_usd": None if is_shared else to_usd(level.limit),
        "spent_usd": None if is_shared else to_usd(level.posted),
        "held_usd": None if is_shared else to_usd(level.reserved),
        "remaining_usd": to_usd(level.available),
        "resets_at": level.resets_at_s,
    }


def _limit(quota: Quota) -> dict[str, Any]:
    return {
        "scope": quota.scope,
        "unit": quota.unit,
        "period": quota.period,
        "limit": quota.limit,
        "remaining": quota.left,
        "resets_at": quota.ends_at_s,
    }


def _usage(row: UsageRow) -> dict[str, Any]:
    return {
        "group": row.group,
        "solves": row.solves,
        "calls": row.calls,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": to_usd(row.cost),
        "estimated_calls": row.estimated_calls,
    }


def aware(name: str, instant: datetime) -> datetime:
    """The instant of a parameter. Raises InvalidRequest for one without a zone."""
    if instant.tzinfo is None:
        raise InvalidRequest(name, "add a zone, such as 2026-11-21T00:00:00Z")
    return instant
