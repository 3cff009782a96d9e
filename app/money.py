"""Money is an integer number of nano-dollars inside, a decimal string of dollars outside.

Never a float: 0.1 + 0.2 is not 0.3 there, and a ledger has to close to the last digit.
"""

from collections.abc import Iterable
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from typing import Final, NewType

NanoUSD = NewType("NanoUSD", int)
"""A billionth of a US dollar: what a tenth of a token of the cheapest model costs."""

NANO_PER_USD: Final = 1_000_000_000

NANO_USD_MAX: Final = NanoUSD(2**63 - 1)
"""The largest amount a 64-bit column holds: about nine billion dollars."""


def price(parts: Iterable[tuple[int, NanoUSD]]) -> NanoUSD:
    """Cost of (tokens, nano-dollars per million tokens) parts, summed and then rounded up once.

    One rounding, so that hold, charge and receipt agree to the nano-dollar.
    """
    return NanoUSD(-(-sum(tokens * rate for tokens, rate in parts) // 1_000_000))


def from_usd(text: str | Decimal) -> NanoUSD:
    """Nano-dollars of a decimal amount of dollars such as `"0.10"`.

    Raises ValueError for what is not a finite decimal, for a fraction of a nano-dollar, and for an
    amount that no column could hold.
    """
    # Beyond 28 digits the default context would round, and an amount that is no whole number of
    # nano-dollars would pass for one.
    exact = Context(traps=[InvalidOperation, Inexact, Overflow])
    try:
        nano = Decimal(text).scaleb(9, exact)
    except DecimalException:
        raise ValueError(f"not a decimal amount of dollars: {text!r}") from None
    if not nano.is_finite() or nano != nano.to_integral_value():
        raise ValueError(f"not a whole number of nano-dollars (at most nine decimals): {text!r}")
    if abs(nano) > NANO_USD_MAX:
        raise ValueError(f"larger than any amount kept here: {text!r}")
    return NanoUSD(int(nano))


def to_usd(amount: NanoUSD) -> str:
    """The exact decimal string of dollars, with at least two and at most nine decimals."""
    dollars, nano = divmod(abs(amount), NANO_PER_USD)
    decimals = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{dollars}.{decimals}"
