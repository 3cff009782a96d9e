"""`GET /v1/solves/{id}/receipt`: what each call of a solve cost, and why."""

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app.api.auth import Authenticated
from app.api.published import REFUSALS
from app.api.state import services
from app.ledger.corrections import Credit
from app.ledger.receipts import Receipt, ReceiptLine
from app.money import NanoUSD, to_usd
from app.solve.archive import NoSuchSolve

router = APIRouter(prefix="/v1", tags=["spending"], responses=REFUSALS)

NO_STORE: Final = {"Cache-Control": "no-store"}


@router.get("/solves/{solve_id}/receipt", summary="Read a solve's receipt")
async def read_receipt(request: Request, solve_id: str, tenant: Authenticated) -> JSONResponse:
    """Every call with its tokens, unit prices and cost; the lines add up to the total exactly.

    Calls that failed or were cut short are lines too, at what was paid for them; `credits` is what
    was given back since. A receipt stays when the texts of its solve are erased.
    """
    # PostgreSQL takes no text with a NUL, not even to look for it.
    known = solve_id.isprintable()
    receipt = await services(request).books.receipts.of(tenant.id, solve_id) if known else None
    if receipt is None:
        raise NoSuchSolve(f"there is no solve {solve_id!r}")
    return JSONResponse(receipt_document(receipt), headers=NO_STORE)


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """The receipt as it is published; amounts in dollars."""
    return {
        "object": "receipt",
        "solve": receipt.solve_id,
        "status": receipt.state,
        "account": receipt.account,
        "project": receipt.project_id,
        "key": receipt.key_id,
        "cost_center": receipt.cost_center,
        "created_at": _instant(receipt.created_at),
        "completed_at": _instant(receipt.completed_at),
        "currency": "USD",
        "lines": [_line(line) for line in receipt.lines],
        "total_usd": to_usd(receipt.total),
        "credits": [credit_document(credit) for credit in receipt.credits],
        "credited_usd": to_usd(NanoUSD(sum(credit.amount for credit in receipt.credits))),
    }


def credit_document(credit: Credit) -> dict[str, Any]:
    """What was given back, and why."""
    return {
        "kind": credit.kind,
        "solve": credit.solve_id,
        "call": credit.call_id,
        "posted_at": _instant(credit.posted_at),
        "reference": credit.reference,
        "reason": credit.reason,
        "amount_usd": to_usd(credit.amount),
    }


def _line(line: ReceiptLine) -> dict[str, Any]:
    return {
        "call": line.call_id,
        "op": line.op,
        "attempt": line.attempt,
        "status": line.state,
        "started_at": _instant(line.started_at),
        "ended_at": _instant(line.ended_at),
        "posted_at": _instant(line.posted_at),
        "expert": f"{line.expert}@{line.expert_version}",
        "provider": line.provider,
        "model": line.model,
        "returned_model": line.returned_model,
        "provider_request_id": line.provider_request_id,
        "price_version": line.price_version,
        "units": _units(line),
        "estimated": line.estimated,
        "cost_usd": to_usd(line.cost),
    }


def _units(line: ReceiptLine) -> list[dict[str, Any]]:
    """Tokens and price of each unit; tokens are null where the provider reported none."""
    counted = {"input": line.input_tokens, "output": line.output_tokens}
    return [
        {"unit": unit, "tokens": tokens, "usd_per_million": _optional(line.rates.get(unit))}
        for unit, tokens in counted.items()
    ]


def _optional(rate: NanoUSD | None) -> str | None:
    return None if rate is None else to_usd(rate)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
