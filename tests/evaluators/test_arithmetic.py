"""The value of an expression is exact, and text that is not one is refused, never evaluated."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from operator import add, mul, sub

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluators.arithmetic import LENGTH_MAX, Unreadable, read

OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": lambda left, right: left / right,
}


@dataclass(frozen=True)
class Known:
    """An expression with the value that fractions give it; None where it divides by zero."""

    text: str
    value: Fraction | None
    numbers: tuple[Fraction, ...]


def literal(number: int, places: int) -> Known:
    """A number written with some decimal places."""
    value = Fraction(number, 10**places)
    text = (
        f"{number}" if places == 0 else f"{number // 10**places}.{number % 10**places:0{places}d}"
    )
    return Known(text, value, (value,))


def joined(left: Known, operator: str, right: Known) -> Known:
    """Two expressions and an operator between them."""
    text, numbers = f"{left.text}{operator}{right.text}", left.numbers + right.numbers
    if left.value is None or right.value is None or (operator == "/" and right.value == 0):
        return Known(text, None, numbers)
    value = OPERATIONS[operator](left.value, right.value)
    return Known(text, value, numbers)


def bracketed(inner: Known) -> Known:
    """The same in brackets."""
    return Known(f"( {inner.text} )", inner.value, inner.numbers)


def negated(inner: Known) -> Known:
    """The same in brackets, with a sign."""
    return Known(f"-({inner.text})", None if inner.value is None else -inner.value, inner.numbers)


LITERALS = st.builds(literal, st.integers(0, 200), st.integers(0, 2))


def grown(inner: st.SearchStrategy[Known]) -> st.SearchStrategy[Known]:
    """Operands are bracketed, so that the text means what the tree says."""
    operands = LITERALS | inner.map(bracketed) | inner.map(negated)
    return st.builds(joined, operands, st.sampled_from("+-*/"), operands)


EXPRESSIONS = st.recursive(LITERALS, grown, max_leaves=12)


@given(known=EXPRESSIONS)
def test_value_and_numbers_agree_with_fractions(known: Known) -> None:
    """Exactly, for any tree of operations, division by zero included."""
    found = read(known.text)
    assert (found.value, found.numbers) == (known.value, known.numbers)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2+3*4", 14),
        ("2*3+4", 10),
        ("10-4-3", 3),
        ("24/4/2", 3),
        ("8/(3-8/3)", 24),
        ("-2*3", -6),
        ("2*-3", -6),
        ("2--3", 5),
        ("-(2+3)*2", -10),
        ("[2+3]*2", 10),
        ("6x4", 24),
        ("6 \N{MULTIPLICATION SIGN} 4", 24),
        ("48 \N{DIVISION SIGN} 2", 24),
        ("30 \N{MINUS SIGN} 6", 24),
        (r"$\left(8-4\right)\times 6$", 24),
        (r"48 \div 2 \cdot 1", 24),
    ],
)
def test_operators_bind_as_in_school(expression: str, value: int) -> None:
    """Points before lines, from the left, signs tightest; the common ways to write each."""
    assert read(expression).value == value


def test_only_operators_that_are_written_are_reported() -> None:
    """Signs count, whatever they stand before."""
    assert read("-1*(2)").operators == {"-", "*"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "()",
        "(",
        ")",
        "1+",
        "*1",
        "1 2",
        "2(3)",
        "(1+2",
        "1+2)",
        "2**3",
        "2^3",
        "2//3",
        "1e3",
        "abs(1)",
        "__import__('os')",
        "1;2",
        "1,000",
        "No solution",
        "²",
        "2²",
        "٢",
        "0b1",
        "1_000",
        "1.2.3",
        "1" * 501,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Powers, names, calls and other scripts' digits among them."""
    with pytest.raises(Unreadable):
        read(text)


@given(text=st.text() | st.text(alphabet="0123456789.+-*/()[]xX =^\\$", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but `Unreadable` ever comes out."""
    try:
        found = read(text)
    except Unreadable:
        return
    assert found.numbers


@pytest.mark.parametrize(
    "text",
    ["(" * 249 + "1" + ")" * 249, "-" * 499 + "1", "9" * 250 + "*" + "9" * 249, "1/9*" * 124 + "1"],
)
def test_the_longest_expressions_are_read(text: str) -> None:
    """Nesting costs no recursion, and values stay within the digits that were written."""
    assert len(text) <= LENGTH_MAX
    assert read(text).value is not None
