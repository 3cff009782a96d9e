"""Charges in the columns of FOCUS, the FinOps Open Cost and Usage Specification. Pure.

All columns that version 1.2 requires, and of the others those that we know; what is ours alone has
the prefix `x_`. Source: https://focus.finops.org/focus-specification/v1-2/
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from app.ledger.exports import ChargeRow
from app.ledger.months import Month
from app.money import to_usd

COLUMNS: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SkuPriceId",
    "SubAccountId",
    "Tags",
    "x_CallId",
    "x_EntryId",
    "x_Estimated",
    "x_InputTokens",
    "x_OutputTokens",
)
"""In the order in which they are written."""

CATEGORIES: Final = {"charge": "Usage", "refund": "Credit", "adjustment": "Adjustment"}
TOKENS: Final = "Tokens"
ISSUER: Final = "Fathom"


def focus_record(row: ChargeRow, names: Mapping[str, str]) -> dict[str, str | None]:
    """A row as FOCUS has it; `names` are those of the tenants.

    Nothing is discounted here, so that every cost is the billed one. A charge period is the hour in
    which the row was posted. A credit for a call of an earlier month is a correction.
    """
    month, cost, tokens = Month.of(row.posted_at), to_usd(row.amount), _tokens(row)
    hour = row.posted_at.replace(minute=0, second=0, microsecond=0)
    earlier = row.called_at is not None and Month.of(row.called_at) < month
    sku = None if row.model is None else f"{row.provider}/{row.model}"
    is_usage = row.kind == "charge"
    return {
        "BilledCost": cost,
        "BillingAccountId": row.tenant_id,
        "BillingAccountName": names.get(row.tenant_id),
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _instant(month.end),
        "BillingPeriodStart": _instant(month.start),
        "ChargeCategory": CATEGORIES[row.kind],
        "ChargeClass": "Correction" if earlier and not is_usage else None,
        "ChargeDescription": f"{row.expert} {row.op}" if is_usage else row.reason,
        "ChargeFrequency": "Usage-Based" if is_usage else "One-Time",
        "ChargePeriodEnd": _instant(hour + timedelta(hours=1)),
        "ChargePeriodStart": _instant(hour),
        "ConsumedQuantity": tokens,
        "ConsumedUnit": None if tokens is None else TOKENS,
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": ISSUER,
        "ListCost": cost,
        "PricingQuantity": tokens,
        "PricingUnit": None if tokens is None else TOKENS,
        "ProviderName": row.provider or ISSUER,
        "PublisherName": row.provider or ISSUER,
        "ResourceId": row.solve_id,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Inference",
        "SkuId": sku,
        "SkuPriceId": row.price_version,
        "SubAccountId": row.project_id,
        "Tags": json.dumps(_tags(row), sort_keys=True),
        "x_CallId": row.call_id,
        "x_EntryId": row.id,
        "x_Estimated": None if row.estimated is None else str(row.estimated).lower(),
        "x_InputTokens": None if not is_usage else _number(row.input_tokens),
        "x_OutputTokens": None if not is_usage else _number(row.output_tokens),
    }


def _tags(row: ChargeRow) -> dict[str, str]:
    known = {"cost_center": row.cost_center, "expert": row.expert, "key": row.key_id}
    return {name: value for name, value in known.items() if value is not None}


def _tokens(row: ChargeRow) -> str | None:
    """Of a charge; None where the provider reported none."""
    if row.kind != "charge" or (row.input_tokens is None and row.output_tokens is None):
        return None
    return str((row.input_tokens or 0) + (row.output_tokens or 0))


def _number(count: int | None) -> str | None:
    return None if count is None else str(count)


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
