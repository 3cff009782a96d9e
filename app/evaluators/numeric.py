"""Is the answer the expected number, within a tolerance? Exact decimals and fractions, no floats.

Reads `1,000`, `1e-3`, `3/4`, `50%`, `$5`, `42 apples`, `x = 42`. An answer with several numbers
(`41 or 42`) or with mathematics around one (`2 pi`, `5 million`, `sqrt(2)`) is not read at all:
guessing what was meant would make a verifier unsure.
"""

import re
from decimal import Decimal
from fractions import Fraction

from pydantic import BaseModel, ConfigDict, Field

from app.answers.canonical import canonical
from app.errors import InvalidRequest
from app.evaluators.evaluation import Candidate, Evaluation

ANSWER_MAX = 1_000
"""Characters of an answer that is still read as a number."""

DIGITS_MAX, EXPONENT_MAX = 100, 400
"""Bounds on what a caller may configure, so that exact arithmetic on it stays cheap."""


class NumericConfig(BaseModel):
    """The expected number, and how far an answer may be from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: Decimal = Field(
        description="The right value, as a decimal string. An answer of 50% is read as 0.5, unless "
        "`unit` is `%`: then it is 50."
    )
    abs_tol: Decimal = Field(
        default=Decimal(0), ge=0, description="The largest difference that is still right."
    )
    rel_tol: Decimal = Field(
        default=Decimal(0),
        ge=0,
        le=1,
        description="The same as a share of `expected`; the larger of the two counts.",
    )
    unit: str | None = Field(
        default=None,
        min_length=1,
        max_length=40,
        description="The unit asked for. An answer may leave it out, but not name another; "
        "without it, words after the number are ignored. Letter case does not count.",
    )


class Numeric:
    """Scores 1.0 for a number within tolerance, else 0.0.

    Feedback says neither what is expected nor on which side of it the answer lies: a refiner that
    knew could close in without solving anything.
    """

    def __init__(self, config: NumericConfig) -> None:
        self._expected = _bounded("config.expected", config.expected)
        self._tolerance = max(
            _bounded("config.abs_tol", config.abs_tol),
            _bounded("config.rel_tol", config.rel_tol) * abs(self._expected),
        )
        # Spelled behind a number, because only there does `percent` become `%`.
        self._unit = None if config.unit is None else canonical(f"1 {config.unit}")[1:].strip()

    async def evaluate(self, candidate: Candidate) -> Evaluation:
        """Compare the one number in the extracted answer; none, or several, score 0.0."""
        if candidate.answer is None:
            return Evaluation(0.0, "no answer was found in the text")
        quoted = repr(candidate.answer[:80])
        # The unit goes first, where it stands last: there may be digits in it, as in `m^2`.
        number = _read(canonical(candidate.answer).removesuffix(self._unit or ""))
        if number is None:
            return Evaluation(0.0, f"{quoted} is not a single number; end with one number alone")
        value, words = number
        if self._unit is not None and not _is_unit(words.lstrip(), self._unit):
            return Evaluation(0.0, f"{quoted} is not in {self._unit or 'the unit asked for'}")
        if self._unit is None and not _is_harmless(words):
            return Evaluation(0.0, f"{quoted} is not a plain number; end with one number alone")
        if words.lstrip().startswith("%") and self._unit != "%":
            value /= 100
        if abs(value - self._expected) <= self._tolerance:
            return Evaluation(1.0)
        return Evaluation(0.0, f"{quoted} is not the expected value")


def _bounded(name: str, number: Decimal) -> Fraction:
    if abs(number.adjusted()) > EXPONENT_MAX or len(number.as_tuple().digits) > DIGITS_MAX:
        raise InvalidRequest(
            name, f"has more than {DIGITS_MAX} digits, or an exponent beyond {EXPONENT_MAX}"
        )
    return Fraction(number)


_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w)\]])-)?[$\u20ac\u00a3\u00a5]?
    (?<![\w.])(?P<top>[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]{1,3})?)(?!\.?[0-9]|e-?[0-9])
    (?:/(?P<bottom>[0-9]+(?:\.[0-9]+)?)(?!\.?[0-9]))?
    """,
    re.VERBOSE,
)
_EQUALS = re.compile(r"[=\u2248]")
# What may stand before and after the number when it is to mean itself: words, not mathematics.
_BEFORE = re.compile(r"(?:[^\\^(){}\[\]*/+<>]*[\s:])?")
_AFTER = re.compile(r"%?(?:\s([^\W\d_]{2,})\b[^\\^(){}\[\]*+<>]*)?")
_SCALES = frozenset({"hundred", "thousand", "million", "billion", "trillion", "dozen", "pi"})


def _read(text: str) -> tuple[Fraction, str] | None:
    """The one number in a canonical `text`, after its last equals sign, and what follows it."""
    if len(text) > ANSWER_MAX:
        return None
    text = _EQUALS.split(text)[-1]
    numbers = list(_NUMBER.finditer(text))
    if len(numbers) != 1 or not _BEFORE.fullmatch(text, 0, numbers[0].start()):
        return None
    number = numbers[0]
    top, bottom = Fraction(number["top"]), Fraction(number["bottom"] or 1)
    if not bottom:
        return None
    value = top / bottom
    words = text[number.end() :].rstrip(" .,;:?$\u20ac\u00a3\u00a5")
    return -value if number["sign"] else value, words


def _is_unit(words: str, unit: str) -> bool:
    """Whether `words` is nothing at all, or begins with `unit` as a whole word."""
    return not words or (words.startswith(unit) and words[len(unit) : len(unit) + 1] in _ENDS)


_ENDS = frozenset({"", " ", ".", ",", ";", ":", "?"})


def _is_harmless(words: str) -> bool:
    """Whether `words` after a number leave its value as it is: `apples`, but not `million`."""
    after = _AFTER.fullmatch(words)
    return after is not None and after[1] not in _SCALES
