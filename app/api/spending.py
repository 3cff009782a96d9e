"""What may be spent and what was: `GET /v1/budgets`, `GET /v1/usage`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from app.api.auth import Authenticated
from app.api.published import REFUSALS
from app.api.state import services
from app.errors import InvalidRequest
from app.ledger.budgets import Account, BudgetStatus
from app.ledger.usage import GroupBy, UsageRow
from app.money import NanoUSD, to_usd

router = APIRouter(prefix="/v1", tags=["spending"], responses=REFUSALS)

NO_STORE: Final = {"Cache-Control": "no-store"}
WINDOW: Final = timedelta(days=30)


@router.get("/budgets", summary="Read the budgets of this key")
async def read_budgets(request: Request, tenant: Authenticated) -> JSONResponse:
    """Every level that a solve of this key has to fit, in its current period."""
    account = Account(tenant.id, tenant.key_id, tenant.project_id)
    levels = await services(request).ledger.budgets(account)
    document = {"object": "list", "data": [_budget(level) for level in levels]}
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
    until = datetime.now(UTC) if end is None else _aware("end", end)
    since = until - WINDOW if start is None else _aware("start", start)
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
    return {
        "scope": level.scope,
        "period": level.period,
        "timezone": level.timezone,
        "limit_usd": to_usd(level.limit),
        "spent_usd": to_usd(level.posted),
        "held_usd": to_usd(level.reserved),
        "remaining_usd": to_usd(level.available),
        "resets_at": level.resets_at_s,
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


def _aware(name: str, instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise InvalidRequest(name, "add a zone, such as 2026-11-21T00:00:00Z")
    return instant
