"""`POST /v1/solve/estimate`: what a solve would hold and may cost. It holds and calls nothing."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app.api.auth import Authenticated
from app.api.body import read_body
from app.api.present import shortage_document
from app.api.published import REFUSALS
from app.api.schemas import SolveBody
from app.api.solves import NO_STORE, SOLVE_SCHEMA
from app.api.state import services
from app.money import to_usd
from app.solve.estimate import Estimate, SeatEstimate
from app.solve.report import shortage_of

router = APIRouter(prefix="/v1", tags=["solves"], responses=REFUSALS)


@router.post("/solve/estimate", openapi_extra=SOLVE_SCHEMA, summary="Estimate a solve")
async def estimate(request: Request, tenant: Authenticated) -> JSONResponse:
    """The body of `/v1/solve`: what it would hold at first, its cap, and what each route may cost.

    Nothing is held and no model is called. Where a budget has no room, `admitted` is false and
    `refusal` says of it what the 402 of a solve would; `ladder` says why only a single call would
    be made.
    """
    body = SolveBody.model_validate_json(await read_body(request))
    made = await services(request).solver.estimate(tenant, body.to_request())
    return JSONResponse(_document(made), headers=NO_STORE)


def _document(made: Estimate) -> dict[str, Any]:
    return {
        "object": "solve.estimate",
        "admitted": made.refusal is None,
        "refusal": None if made.refusal is None else shortage_document(shortage_of(made.refusal)),
        "ladder": None if made.ladder is None else str(made.ladder),
        "first_hold_usd": None if made.first_hold is None else to_usd(made.first_hold),
        "budget": {
            "max_cost_usd": to_usd(made.cap),
            "limited_by": made.limited_by,
            "resets_at": made.resets_at_s,
        },
        "routes": {
            route: {"expected_usd": to_usd(cost.expected), "worst_usd": to_usd(cost.worst)}
            for route, cost in made.routes.items()
        },
        "experts": [_seat(seat) for seat in made.seats],
        "left_out": list(made.left_out),
    }


def _seat(made: SeatEstimate) -> dict[str, Any]:
    return {
        "role": made.role,
        "expert": made.seat.expert.name,
        "max_output_tokens": made.seat.max_output_tokens,
        "narrowed": made.is_narrowed,
        "expected_usd": to_usd(made.expected),
        "worst_usd": to_usd(made.worst),
    }
