"""A number is right within its tolerance, however it is written, and never by guessing."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.evaluators.numeric import Numeric, NumericConfig
from tests.evaluators.judging import judge, score


def numeric(expected: str, tolerance: str = "0", unit: str | None = None) -> Numeric:
    """Expects a number, within an absolute tolerance."""
    config = NumericConfig(expected=Decimal(expected), abs_tol=Decimal(tolerance), unit=unit)
    return Numeric(config)


@pytest.mark.parametrize(
    ("expected", "answers"),
    [
        ("0.5", ["0.5", "50%", "50 percent", r"50\%", "1/2", ".5", "5e-1", r"\frac{1}{2}"]),
        ("0.001", ["1e-3", "0.1%", "1/1000", "0.0010"]),
        ("1000", ["1,000", "$1,000.00", "1e3", "1000 dollars", "x = 1000", "1000 apples."]),
        ("1000", ["The total is 1,000", "2*500 = 1000", "**1000**", r"\boxed{1{,}000}"]),
        ("-5", ["-5", "\N{MINUS SIGN}5", "- 5", "-$5", "(-5)", "x=-5"]),
        ("0", ["0", "-0", "0.00", "0%"]),
    ],
)
async def test_spellings_of_the_expected_number_are_right(
    expected: str, answers: list[str]
) -> None:
    """Percent, thousands, exponents, fractions, currency, and words around it."""
    evaluator = numeric(expected)
    assert [await score(evaluator, answer) for answer in answers] == [1.0] * len(answers)


@pytest.mark.parametrize(
    ("expected", "answers"),
    [
        ("0.5", ["0.5%", "5", "-0.5", "0.5 or 0.6", "half"]),
        ("5", ["5 million", "5!", "5x", "5 pi", "5^2", r"5\pi", "10-5", "5,6", "1 5", "5.5.5"]),
        ("5", [r"\sqrt{5}", "sqrt(5)", "log 5^2", "1/0", "+-5", ">5", "5i", "5e99999", "0x5"]),
        ("0", ["0x1f", "none", "", "zero", "1/0"]),
    ],
)
async def test_other_numbers_and_mathematics_around_one_are_wrong(
    expected: str, answers: list[str]
) -> None:
    """What would need a guess is not read."""
    evaluator = numeric(expected)
    assert [await score(evaluator, answer) for answer in answers] == [0.0] * len(answers)


@pytest.mark.parametrize(
    ("expected", "unit", "answer", "wanted"),
    [
        ("5", "km/h", "5", 1.0),
        ("5", "km/h", "5 km/h", 1.0),
        ("5", "km/h", "5KM/H.", 1.0),
        ("5", "km/h", "5 km", 0.0),
        ("5", "km", "5 km/h", 0.0),
        ("2", "m^2", "2 m^2", 1.0),
        ("2", "m^2", "2 m", 0.0),
        ("50", "%", "50%", 1.0),
        ("50", "percent", "50 %", 1.0),
        ("50", "%", "0.5", 0.0),
        ("5", "$", "$5", 1.0),
        ("5", "$", "5 km", 0.0),
    ],
)
async def test_a_unit_may_be_left_out_but_not_exchanged(
    expected: str, unit: str, answer: str, wanted: float
) -> None:
    """And percent is a unit like any other when it is asked for."""
    assert await score(numeric(expected, unit=unit), answer) == wanted


async def test_tolerances_are_exact_and_the_larger_counts() -> None:
    """0.1 + 0.2 is within 0 of 0.3 here, and a bound is inside."""
    assert await score(numeric("0.3", "0.1"), "0.4") == 1.0
    assert await score(numeric("0.3", "0.1"), "0.41") == 0.0
    config = NumericConfig(expected=Decimal(200), abs_tol=Decimal(1), rel_tol=Decimal("0.01"))
    assert await score(Numeric(config), "202") == 1.0
    assert await score(Numeric(config), "202.0001") == 0.0
    assert await score(numeric("0.333", "0.001"), "1/3") == 1.0


async def test_feedback_tells_neither_the_number_nor_the_direction() -> None:
    """Otherwise a refiner could close in on it without solving anything."""
    low, high = await judge(numeric("777"), "5"), await judge(numeric("777"), "5000")
    assert low.feedback.replace("5", "N") == high.feedback.replace("5000", "N")
    assert "777" not in low.feedback


@pytest.mark.parametrize("expected", ["1e999999999", "1e-999999999", "9" * 200])
def test_an_expected_number_beyond_bounds_is_refused(expected: str) -> None:
    """Exact arithmetic on it would be dear."""
    with pytest.raises(InvalidRequest, match=r"config\.expected"):
        numeric(expected)


@given(
    expected=st.decimals(-1_000_000, 1_000_000, places=3),
    answer=st.decimals(-1_000_000, 1_000_000, places=3),
    tolerance=st.decimals(0, 1_000, places=3),
)
async def test_verdict_agrees_with_fractions(
    expected: Decimal, answer: Decimal, tolerance: Decimal
) -> None:
    """For plain decimals: right exactly when within tolerance."""
    within = abs(Fraction(expected) - Fraction(answer)) <= Fraction(tolerance)
    assert await score(numeric(str(expected), str(tolerance)), f"{answer:,}") == float(within)


@given(answer=st.text() | st.text(alphabet="0123456789.,e+-/%$ kmx=", max_size=40))
async def test_any_text_is_scored_zero_or_one(answer: str) -> None:
    """Nothing is raised, whatever the answer."""
    for unit in (None, "km"):
        assert await score(numeric("5", unit=unit), answer) in {0.0, 1.0}
