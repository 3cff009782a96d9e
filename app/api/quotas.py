"""Quotas as response headers: how much of the tightest limits is left, before one refuses.

Source: draft-ietf-httpapi-ratelimit-headers-10. Its registry has no unit for money or for tokens;
the names here are ours. Money is told in millionths of a dollar, for a structured field's integers
have 15 digits.
"""

import time
from collections.abc import Iterable
from typing import Final

from app.ledger.quotas import Quota, Unit
from app.money import NanoUSD

INTEGER_MAX: Final = 999_999_999_999_999
"""RFC 9651, section 3.3.1."""

NANO_PER_MICRO: Final = 1_000

UNIT_NAMES: Final = {Unit.USD: "micro-usd"}


def quota_headers(quotas: Iterable[Quota], *, used: NanoUSD = NanoUSD(0)) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit`; nothing where nothing is known.

    `used` is what of the money a solve has spent, or holds, since the quotas were found.
    """
    found = [quota.after(used) if quota.unit is Unit.USD else quota for quota in quotas]
    if not found:
        return {}
    return {
        "RateLimit-Policy": ", ".join(map(_policy, found)),
        "RateLimit": ", ".join(map(_limit, found)),
    }


def _policy(quota: Quota) -> str:
    unit = UNIT_NAMES.get(quota.unit, quota.unit.value)
    window = "" if quota.window_s is None else f";w={quota.window_s}"
    return f'"{_name(quota)}";q={_amount(quota, quota.limit)};qu="{unit}"{window}'


def _limit(quota: Quota) -> str:
    ends = quota.ends_at_s
    resets = "" if ends is None else f";t={max(0, ends - int(time.time()))}"
    return f'"{_name(quota)}";r={_amount(quota, quota.left)}{resets}'


def _name(quota: Quota) -> str:
    return f"{quota.scope}-{quota.unit}-{quota.period}"


def _amount(quota: Quota, amount: int) -> int:
    told = amount // NANO_PER_MICRO if quota.unit is Unit.USD else amount
    return min(max(0, told), INTEGER_MAX)
