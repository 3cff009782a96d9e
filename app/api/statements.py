"""`GET /v1/statements/{YYYY-MM}`: what a month came to."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from app.api.auth import Authenticated
from app.api.published import REFUSALS
from app.api.receipts import credit_document
from app.api.state import services
from app.ledger.months import MONTH, Month
from app.ledger.statements import Statement, StatementLine
from app.money import to_usd

router = APIRouter(prefix="/v1", tags=["spending"], responses=REFUSALS)

NO_STORE: Final = {"Cache-Control": "no-store"}


@router.get("/statements/{month}", summary="Read this tenant's statement of a month")
async def read_statement(
    request: Request,
    tenant: Authenticated,
    month: Annotated[str, Path(pattern=MONTH, examples=["2026-11"])],
) -> JSONResponse:
    """What was charged and credited in a month, in UTC, by when it was posted.

    The charges are the sum of the month's receipt lines, to the nano-dollar; credits stand apart. A
    closed month never changes: what is corrected later is in the month in which it is corrected.
    """
    told = await services(request).books.statements.of(tenant.id, Month.parse(month))
    return JSONResponse(statement_document(told), headers=NO_STORE)


def statement_document(told: Statement) -> dict[str, Any]:
    """The statement as it is published; amounts in dollars."""
    month = Month.parse(told.month)
    return {
        "object": "statement",
        "month": told.month,
        "start": month.start.isoformat(),
        "end": month.end.isoformat(),
        "status": "open" if told.closed_at is None else "closed",
        "closed_at": None if told.closed_at is None else told.closed_at.isoformat(),
        "currency": "USD",
        "lines": [_line(line) for line in told.lines],
        "credits": [credit_document(credit) for credit in told.credits],
        "charges_usd": to_usd(told.charges),
        "refunds_usd": to_usd(told.refunds),
        "adjustments_usd": to_usd(told.adjustments),
        "total_usd": to_usd(told.total),
    }


def _line(line: StatementLine) -> dict[str, Any]:
    return {
        "cost_center": line.cost_center,
        "expert": line.expert,
        "provider": line.provider,
        "model": line.model,
        "calls": line.calls,
        "estimated_calls": line.estimated_calls,
        "input_tokens": line.input_tokens,
        "output_tokens": line.output_tokens,
        "cost_usd": to_usd(line.cost),
    }
