"""Which option was chosen? Reads `B`, `(b)`, `B. Paris`, `**B**`, `the answer is B`, or its text.

An answer that could mean several options is not read at all.
"""

import re
import string

from pydantic import BaseModel, ConfigDict, Field

from app.answers.canonical import canonical
from app.errors import InvalidRequest
from app.evaluators.evaluation import Candidate, Evaluation


class ChoiceConfig(BaseModel):
    """The right letter, and the options when their texts may be answered instead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: str = Field(pattern=r"^[A-Za-z]$", description="The letter of the right option.")
    options: tuple[str, ...] | None = Field(
        default=None,
        min_length=2,
        max_length=26,
        description="The options' texts in order, the first being A. With them, an answer may "
        "give an option's text, and a letter beyond them is refused.",
    )


class Choice:
    """Scores 1.0 for the expected option, else 0.0; feedback never names the right one."""

    def __init__(self, config: ChoiceConfig) -> None:
        texts = config.options or ()
        self._expected = config.expected.upper()
        self._letters = string.ascii_uppercase[: len(texts) or None]
        self._by_text = {
            canonical(text): letter for text, letter in zip(texts, self._letters, strict=False)
        }
        if self._expected not in self._letters:
            raise InvalidRequest("config.expected", f"there is no option {self._expected}")
        if len(self._by_text) < len(texts):
            raise InvalidRequest("config.options", "two options have the same text")

    async def evaluate(self, candidate: Candidate) -> Evaluation:
        """Compare the option that the extracted answer chooses; none, or several, score 0.0."""
        if candidate.answer is None:
            return Evaluation(0.0, "no answer was found in the text")
        quoted = repr(candidate.answer[:80])
        chosen = chosen_letter(candidate.answer) or self._by_text.get(canonical(candidate.answer))
        if chosen is None:
            return Evaluation(0.0, f"{quoted} does not choose one option; end with its letter")
        if chosen not in self._letters:
            return Evaluation(0.0, f"{chosen} is not one of {self._letters[0]}-{self._letters[-1]}")
        if chosen == self._expected:
            return Evaluation(1.0)
        return Evaluation(0.0, f"{chosen} is not the right option")


_DRESS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{([^{}]*)\}|[*_`$]")
_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\].:]{0,2}")
_LED = re.compile(r"(?:\(([A-Za-z])\)|([A-Za-z])\s?\)|([A-Z])\s?[.:])\s*(.*)", re.DOTALL)
# A and I are words as well: they count in a sentence only where it could end.
_NAMED = re.compile(
    r"\b(?i:answer|option|choice)(?:\s?(?:is|:))?\s{0,3}(?i:option\s)?"
    r"(?:\(([A-Za-z])\)|([B-HJ-Z])(?![\w'])|([AI])(?=\s*(?:$|[^\w\s'])))",
)
_RIVAL = re.compile(r"(?:and|or|nor|&|/|,)(?!\w)|.*\([A-Z]\)", re.DOTALL)

ANSWER_MAX = 2_000
"""Characters; a longer answer is an essay, and is not read for letters."""


def chosen_letter(answer: str) -> str | None:
    """The one letter that `answer` chooses, upper case, or None when it is unclear."""
    if len(answer) > ANSWER_MAX:
        return None
    plain = _DRESS.sub(lambda dress: dress[1] or "", answer).strip()
    if alone := _ALONE.fullmatch(plain):
        return alone[1].upper()
    if led := _LED.match(plain):
        *letters, rest = led.groups("")
        return None if _RIVAL.match(rest) else "".join(letters).upper()
    named = {"".join(match.groups("")).upper() for match in _NAMED.finditer(plain)}
    return named.pop() if len(named) == 1 else None
