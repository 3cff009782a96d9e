from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.money import NANO_PER_USD, NANO_USD_MAX, NanoUSD, from_usd, price, to_usd

amounts = st.integers(-NANO_USD_MAX, NANO_USD_MAX).map(NanoUSD)
parts = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**12).map(NanoUSD)), max_size=6)


@given(parts)
def test_price_is_the_exact_sum_rounded_up_once(parts: list[tuple[int, NanoUSD]]) -> None:
    """Never a nano-dollar too little, and less than one too much."""
    exact = sum((Fraction(tokens * rate, 1_000_000) for tokens, rate in parts), Fraction(0))
    assert 0 <= price(parts) - exact < 1


@given(parts, parts)
def test_splitting_a_call_never_makes_it_cheaper(
    first: list[tuple[int, NanoUSD]], second: list[tuple[int, NanoUSD]]
) -> None:
    """Each call is rounded up by itself."""
    assert price(first) + price(second) >= price([*first, *second])


@given(amounts)
def test_amount_survives_being_written_and_read(amount: NanoUSD) -> None:
    """As text and as a decimal."""
    assert from_usd(to_usd(amount)) == amount
    assert from_usd(Decimal(to_usd(amount))) == amount


@given(amounts)
def test_amount_is_written_with_two_to_nine_decimals(amount: NanoUSD) -> None:
    """Cents at least, and no zeros that say nothing."""
    whole, _, decimals = to_usd(amount).partition(".")
    assert 2 <= len(decimals) <= 9
    assert len(decimals) == 2 or not decimals.endswith("0")
    assert Fraction(to_usd(amount)) == Fraction(amount, NANO_PER_USD)
    assert whole.removeprefix("-").isdigit()


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("-0.00", 0),
        ("0.10", 100_000_000),
        ("0.000000001", 1),
        ("-0.000000001", -1),
        ("1e-9", 1),
        ("9223372036.854775807", NANO_USD_MAX),
        ("0.1" + "0" * 60, 100_000_000),
    ],
)
def test_decimal_dollars_are_read_exactly(text: str, nano: int) -> None:
    """However they are written."""
    assert from_usd(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ten",
        "0,10",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "0.0000000001",
        "9223372036.854775808",
        "-9223372036.854775808",
        "1e30",
        "1e999999",
        "1e-999999",
        "0.1" + "0" * 40 + "1",
        "9" * 10_000,
    ],
)
def test_what_no_column_could_hold_is_refused(text: str) -> None:
    """Fractions of a nano-dollar however small, amounts however large, and what is no number."""
    with pytest.raises(ValueError, match=r".+"):
        from_usd(text)
