"""Read an arithmetic expression and its exact value: four operations, signs, brackets, no more.

Tokens go through two stacks (Dijkstra's shunting-yard), so nesting costs no recursion; values are
fractions, so nothing is rounded. Powers, names and calls are refused, and nothing is ever handed
to Python to evaluate.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction

LENGTH_MAX = 500
"""Characters of an expression; its value then has no more digits than that either."""


class Unreadable(ValueError):
    """The text is not one arithmetic expression; the message says where it stops being one."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """An expression's `value` (None: it divides by zero) and what it is made of, in order."""

    value: Fraction | None
    numbers: tuple[Fraction, ...]
    operators: frozenset[str]


def read(expression: str) -> Arithmetic:
    """The exact value of `expression`, or `Unreadable`."""
    if len(expression) > LENGTH_MAX:
        raise Unreadable(f"it is longer than {LENGTH_MAX} characters")
    reader = _Reader()
    for token in _TOKEN.finditer(_plain(expression)):
        reader.take(token[0])
    return reader.finish()


_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+|\*\*|\S")
_LATEX = re.compile(r"\\(?:left|right|[()\[\],;! ])|\$")
_TIMES = re.compile(r"\\(?:times|cdot)(?![a-zA-Z])")
_DIVIDED = re.compile(r"\\div(?![a-zA-Z])")
_SIGNS = str.maketrans(
    {
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{DOT OPERATOR}": "*",
        "\N{MIDDLE DOT}": "*",
        "x": "*",
        "X": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{DIVISION SLASH}": "/",
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "[": "(",
        "]": ")",
    }
)


def _plain(expression: str) -> str:
    if "\\" in expression or "$" in expression:
        expression = _LATEX.sub(" ", expression)
        expression = _DIVIDED.sub("/", _TIMES.sub("*", expression))
    return expression.translate(_SIGNS)


_BINARY = {"+": 1, "-": 1, "*": 2, "/": 2}
_UNARY = {"+": "plus", "-": "minus"}
_STRENGTH = {**_BINARY, "plus": 3, "minus": 3, "(": 0}


@dataclass(slots=True)
class _Reader:
    """The two stacks, and whether an operand must come next."""

    values: list[Fraction | None] = field(default_factory=list[Fraction | None])
    pending: list[str] = field(default_factory=list[str])
    numbers: list[Fraction] = field(default_factory=list[Fraction])
    operators: set[str] = field(default_factory=set[str])
    wants_operand: bool = True

    def take(self, token: str) -> None:
        if self.wants_operand:
            self._take_operand(token)
        else:
            self._take_operator(token)

    def _take_operand(self, token: str) -> None:
        if token == "(":
            self.pending.append(token)
        elif token in _UNARY:
            self.operators.add(token)
            self.pending.append(_UNARY[token])
        elif token[-1] in "0123456789":
            number = Fraction(token)
            self.numbers.append(number)
            self.values.append(number)
            self.wants_operand = False
        else:
            raise Unreadable(f"{token!r} stands where a number or a bracket should")

    def _take_operator(self, token: str) -> None:
        if token == ")":
            self._apply(stronger_than=0)
            if not self.pending:
                raise Unreadable("')' closes nothing")
            self.pending.pop()
        elif token in _BINARY:
            self._apply(stronger_than=_BINARY[token] - 1)
            self.operators.add(token)
            self.pending.append(token)
            self.wants_operand = True
        elif token in {"**", "^"}:
            raise Unreadable("powers are not allowed")
        else:
            raise Unreadable(f"{token!r} stands where an operator should")

    def _apply(self, *, stronger_than: int) -> None:
        while self.pending and _STRENGTH[self.pending[-1]] > stronger_than:
            operator, right = self.pending.pop(), self.values.pop()
            if operator in _BINARY:
                self.values.append(_combine(operator, self.values.pop(), right))
            elif operator == "minus":
                self.values.append(None if right is None else -right)
            else:
                self.values.append(right)

    def finish(self) -> Arithmetic:
        if self.wants_operand:
            raise Unreadable("it ends where a number should stand")
        self._apply(stronger_than=0)
        if self.pending:
            raise Unreadable("'(' is never closed")
        return Arithmetic(self.values.pop(), tuple(self.numbers), frozenset(self.operators))


def _combine(operator: str, left: Fraction | None, right: Fraction | None) -> Fraction | None:
    """None, the value of a division by zero, stays None whatever is done with it."""
    if left is None or right is None:
        return None
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right if right else None
