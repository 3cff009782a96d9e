"""What kind of problem it is, where its caller does not say: a guess that costs microseconds.

    choice   options to choose among, each on its line behind a letter: "A) …", "(b) …", "C. …"
    code     a fenced block, or lines that begin as a program's do
    maths    LaTeX, or at least two numbers and a word or sign that reckons with them

Looked for in this order, in the problem's last 8 kB. None of them is None, for which the weights
that all problems share are used. A category only ever groups labels: a wrong guess costs accuracy.
"""

import re
from typing import Final

from app.gate.text import TAIL_BYTES

CHARS_MAX: Final = 64

_OPTION: Final = re.compile(r"^[ \t]*[(\[]?([A-Ea-e])[).\]:][ \t]+\S", re.MULTILINE)
OPTIONS_MIN: Final = 3
_CODE: Final = re.compile(
    r"^```|^[ \t]*(?:def |class \w+[:(]|return |import \w|for \w+ in .*:$|if .*:$|#include|"
    r"function \w|public |SELECT )",
    re.MULTILINE,
)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_RECKONS: Final = re.compile(
    r"[+*/=^%]|\d\s*-\s*\d|\\\w+|"
    r"\b(?:how (?:many|much)|sum|product|equation|solve|calculate|compute|evaluate|simplify|"
    r"integral|percent|probability|average|total|remainder|area|number)\b",
    re.IGNORECASE,
)
_LATEX: Final = re.compile(r"\\(?:frac|sqrt|sum|int|boxed|cdot|times|le|ge|pi)\b|\$[^$\n]+\$")


def category_of(given: str | None, problem: str) -> str | None:
    """What the caller says, at most 64 characters of it; else a guess; None for neither."""
    if given is not None and (named := given.strip()[:CHARS_MAX]):
        return named
    return inferred(problem)


def inferred(problem: str) -> str | None:
    """The guess."""
    tail = problem[-TAIL_BYTES:]
    if len({letter.lower() for letter in _OPTION.findall(tail)}) >= OPTIONS_MIN:
        return "choice"
    if _CODE.search(tail):
        return "code"
    if _LATEX.search(tail) or (_RECKONS.search(tail) and len(_NUMBER.findall(tail)) > 1):
        return "maths"
    return None
