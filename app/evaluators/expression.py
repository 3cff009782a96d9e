"""Does an expression over the given numbers reach the target? As in Game of 24 and Countdown.

The verdict is exact rational arithmetic. What is not right is graded, so that a search has
something to climb, with c = s / (s + |value - target|), s = max(1, |target|), for closeness:

    1.0                right
    0.3 + 0.6 c        the right numbers and operators, another value         below 0.9
    0.3 u c            other numbers or operators; u is the share of numbers used as they should
    0.1 u              it divides by zero
    0.0                not an expression, such as "no solution"

An equation that claims another value than the target is never right, and gets 0.9 at most.
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.evaluators.arithmetic import Arithmetic, Unreadable, read
from app.evaluators.evaluation import Candidate, Evaluation

QUOTED_MAX = 80
"""Characters of the answer that feedback repeats."""

FAULTS_MAX = 8
"""Misused numbers that feedback names."""

_DECIMAL = r"[0-9]{1,15}(\.[0-9]{1,15})?"
Number = (
    Annotated[int, Field(strict=True, ge=0, le=10**15)]
    | Annotated[str, Field(pattern=rf"^{_DECIMAL}$")]
)
Target = (
    Annotated[int, Field(strict=True, ge=-(10**15), le=10**15)]
    | Annotated[str, Field(pattern=rf"^-?{_DECIMAL}$")]
)


class ExpressionConfig(BaseModel):
    """The puzzle: which numbers, which target, by which rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: tuple[Number, ...] = Field(
        min_length=1,
        max_length=32,
        description="The given numbers, none negative; write a decimal as a string.",
    )
    target: Target = Field(description="The value to reach; write a decimal as a string.")
    use: Literal["all", "any"] = Field(
        default="all",
        description="`all`: each number exactly once (Game of 24). `any`: each at most once "
        "(Countdown).",
    )
    operators: str = Field(
        default="+-*/",
        pattern=r"^[-+*/]{1,4}$",
        description="The operators that may be used; a sign before a number counts as one.",
    )


@dataclass(frozen=True, slots=True)
class _Usage:
    """How the numbers in an answer compare with those given; `share` is 1 for all in order."""

    share: float
    faults: tuple[str, ...]


class Expression:
    """Scores an expression in [0, 1]; 1.0 means exactly right."""

    def __init__(self, config: ExpressionConfig) -> None:
        self._given = Counter(Fraction(number) for number in config.numbers)
        self._target = Fraction(config.target)
        self._use_all = config.use == "all"
        self._operators = frozenset(config.operators)

    async def evaluate(self, candidate: Candidate) -> Evaluation:
        """Grade the extracted answer; its feedback names every fault."""
        if candidate.answer is None:
            return Evaluation(0.0, "no expression was found in the answer")
        try:
            expression, claim = _split_claim(candidate.answer)
            found = read(expression)
        except Unreadable as fault:
            quoted = _shorten(candidate.answer, QUOTED_MAX)
            return Evaluation(0.0, f"{quoted!r} is not one arithmetic expression: {fault}")
        return self._grade(_shorten(expression, QUOTED_MAX), found, claim)

    def _grade(self, expression: str, found: Arithmetic, claim: Fraction | None) -> Evaluation:
        usage = self._usage(found)
        if found.value is None:
            faults = (f"{expression} divides by zero", *usage.faults)
            return Evaluation(0.1 * usage.share, "; ".join(faults))
        faults = usage.faults
        if found.value != self._target:
            faults = (f"{expression} = {_spell(found.value)}, not {_spell(self._target)}", *faults)
        elif claim is not None and claim != self._target:
            faults = (f"{expression} = {_spell(found.value)}, not {_spell(claim)}", *faults)
        if not faults:
            return Evaluation(1.0)
        closeness = self._closeness(found.value)
        score = 0.3 * usage.share * closeness if usage.faults else 0.3 + 0.6 * closeness
        return Evaluation(score, "; ".join(faults))

    def _usage(self, found: Arithmetic) -> _Usage:
        used = Counter(found.numbers)
        faults: list[str] = []
        for number, times in used.items():
            given = self._given[number]
            if not given:
                faults.append(f"uses {_spell(number)}, which is not given")
            elif times > given or (times < given and self._use_all):
                often = f", given {_times(given)}" if given > 1 else ""
                faults.append(f"uses {_spell(number)} {_times(times)}{often}")
        if self._use_all:
            unused = (number for number in self._given if number not in used)
            faults.extend(f"{_spell(number)} not used" for number in unused)
        unlawful = "".join(sorted(found.operators - self._operators))
        faults.extend(f"uses {operator}, which is not allowed" for operator in unlawful)
        wanted = max(used.total(), self._given.total()) if self._use_all else used.total()
        return _Usage((used & self._given).total() / wanted, tuple(faults[:FAULTS_MAX]))

    def _closeness(self, value: Fraction) -> float:
        scale = max(Fraction(1), abs(self._target))
        return float(scale / (scale + abs(value - self._target)))


_NUMBER = re.compile(r"\s*([-\u2212]?)\s*([0-9]+(?:\.[0-9]+)?)[\s$.]*")


def _split_claim(answer: str) -> tuple[str, Fraction | None]:
    """The expression, and the value that `… = 24` or `24 = …` claims for it."""
    left, equals, right = answer.strip(" \t\r\n.").partition("=")
    if not equals:
        return left, None
    for expression, claim in ((left, right), (right, left)):
        number = _NUMBER.fullmatch(claim)
        if number and len(claim) <= QUOTED_MAX:
            value = Fraction(number[2])
            return expression.strip(), -value if number[1] else value
    raise Unreadable("only a single number may stand on the other side of '='")


def _spell(number: Fraction) -> str:
    return _shorten(str(number), 24)


def _times(count: int) -> str:
    return {1: "once", 2: "twice", 3: "three times"}.get(count, f"{count} times")


def _shorten(text: str, characters_max: int) -> str:
    text = text.strip()
    return (
        text if len(text) <= characters_max else f"{text[:characters_max]}\N{HORIZONTAL ELLIPSIS}"
    )
