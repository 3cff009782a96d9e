"""What the gate has brought for its money: `GET /v1/usage/roi`, and the operator's view of all."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from app.api.auth import Authenticated
from app.api.published import REFUSALS
from app.api.spending import NO_STORE, WINDOW, aware
from app.api.state import services
from app.money import NanoUSD, to_usd
from app.solve.benefit import Account, GroupBy, Platform
from app.solve.returns import Estimate, Return

router = APIRouter(prefix="/v1", tags=["spending"], responses=REFUSALS)

From = Annotated[
    datetime | None, Query(alias="from", description="Included; default: 30 days ago.")
]
To = Annotated[datetime | None, Query(alias="to", description="Excluded; default: now.")]


@router.get("/usage/roi", summary="Read what the gate has brought this tenant")
async def read_returns(
    request: Request,
    tenant: Authenticated,
    group_by: GroupBy = GroupBy.PERIOD,
    start: From = None,
    end: To = None,
) -> JSONResponse:
    """Of solves begun in a span of time: what was spent, what other ways had cost, what it brought.

    `spend_usd` is exact. What is saved is estimated from each solve's own baselines, for those that
    the gate decided. Errors avoided, against the first answer alone, are estimated from changed
    answers of which it is known how right they were (a verifier's score, your feedback), each by
    its propensity, with a 90 % interval; `labels` says how many those are, and `unlabelled_share`
    what part of the changed answers is none of them. Below 30 of them `errors_avoided`, their worth
    at your price of an error and the price at which they pay (`break_even_usd`) are null: unknown.
    """
    since, until = span(start, end)
    found = await services(request).benefit.report(
        group_by=group_by, start=since, end=until, tenant_id=tenant.id
    )
    return JSONResponse(document(found, group_by, since, until), headers=NO_STORE)


def span(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """The instants asked for; of thirty days up to now by default."""
    until = datetime.now(UTC) if end is None else aware("to", end)
    return (until - WINDOW if start is None else aware("from", start)), until


def document(found: Account, group_by: GroupBy, start: datetime, end: datetime) -> dict[str, Any]:
    """The account as it is told; the operator's part is not in it."""
    return {
        "object": "roi",
        "start": start.isoformat(),
        "end": end.isoformat(),
        "group_by": group_by,
        "data": [{"group": group, **_return(made)} for group, made in found.groups],
        "total": _return(found.total),
    }


def operators(found: Account) -> dict[str, Any]:
    """The operator's part: what it bears, and what is left of what was gained for its tenants."""
    worth, extra, borne = found.total.worth, found.total.extra, _borne(found.platform)
    net = None if worth is None or extra is None else NanoUSD(round(worth.value) - extra - borne)
    return {
        "platform": {
            "losses_usd": to_usd(found.platform.losses),
            "fixed_usd": to_usd(found.platform.fixed),
            "net_usd": _usd(net),
        }
    }


def _borne(platform: Platform) -> int:
    return platform.losses + platform.fixed


def _return(made: Return) -> dict[str, Any]:
    sums = made.sums
    return {
        "solves": sums.solves,
        "decided": sums.decided,
        "changed": sums.changed,
        "spend_usd": to_usd(NanoUSD(sums.posted)),
        "saved_on_strong_usd": _usd(made.saved_on_strong),
        "saved_on_search_usd": _usd(made.saved_on_search),
        "extra_usd": _usd(made.extra),
        "labels": made.labels,
        "unlabelled_share": None if made.unlabelled is None else round(made.unlabelled, 4),
        "errors_avoided": _estimate(made.avoided),
        "worth_usd": _worth(made.worth),
        "break_even_usd": _usd(made.break_even),
    }


def _estimate(found: Estimate | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {
        "value": round(found.value, 3),
        "low": round(found.low, 3),
        "high": round(found.high, 3),
    }


def _worth(found: Estimate | None) -> dict[str, str | None] | None:
    if found is None:
        return None
    return {
        "value": _usd(round(found.value)),
        "low": _usd(round(found.low)),
        "high": _usd(round(found.high)),
    }


def _usd(amount: int | None) -> str | None:
    return None if amount is None else to_usd(NanoUSD(amount))
