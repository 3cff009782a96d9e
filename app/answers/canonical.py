r"""Decide whether two answers are the same, by giving each answer one canonical spelling.

What is the same: letter case, white space, Unicode compatibility forms, punctuation and one layer
of quotes, backticks, emphasis or parentheses around the whole, LaTeX dress (`\text{}`, `\boxed{}`,
`\frac{a}{b}`, `\(`…`\)`, `$`), kinds of dashes, quotes and multiplication signs, spaces inside
lists and around operators, and spellings of one number: `1,000`, `1000.0` and `1e3`.

What is not: `50%` and `0.5` (a share and a number; the numeric evaluator knows which was asked),
`1/2` and `0.5`, `007` and `7` (a code, not a number), `[5]` and `5`. A comma without a space
groups digits outside brackets and separates within them: `1,234` is a number, `[1,234]` a list.

Nothing is evaluated, and numbers stay text, so neither `1e999999999` nor a million digits cost
more than their length.
"""

import re
import unicodedata
from collections.abc import Sequence

ANSWER_MAX = 10_000
"""Characters; a longer text is a document, and only its white space is made canonical."""

ROUNDS_MAX = 16
"""Layers of dress that are taken off before an answer is left as it was written."""


def canonical(answer: str, *, case_sensitive: bool = False) -> str:
    """The spelling that `answer` shares with every answer equal to it; idempotent."""
    folded = _SPACES.sub(" ", answer).strip()
    if len(folded) > ANSWER_MAX:
        return folded
    folded = spelling = _fold(folded, case_sensitive=case_sensitive)
    for _ in range(ROUNDS_MAX):
        if len(spelling) > ANSWER_MAX:
            break
        simpler = _fold(_simplify(spelling), case_sensitive=case_sensitive)
        if simpler == spelling:
            return spelling
        spelling = simpler
    return folded


def equal(left: str, right: str) -> bool:
    """Whether two answers say the same."""
    return canonical(left) == canonical(right)


def cluster(answers: Sequence[str | None]) -> list[list[int]]:
    """Indices of equal answers, the largest group first, ties by first appearance.

    An absent answer (None) agrees with nothing, itself included, and is in no group.
    """
    groups: dict[str, list[int]] = {}
    for index, answer in enumerate(answers):
        if answer is not None:
            groups.setdefault(canonical(answer), []).append(index)
    return sorted(groups.values(), key=len, reverse=True)


_SPACES = re.compile(r"\s+")
_SIGNS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{HYPHEN}": "-",
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{DOT OPERATOR}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": "'",
        "\N{RIGHT DOUBLE QUOTATION MARK}": "'",
        '"': "'",
    }
)


def _fold(text: str, *, case_sensitive: bool) -> str:
    """Unicode, case, signs and white space; itself idempotent."""
    # Case folding can leave a text that NFKC changes, and the reverse: UAX 15 and 21 ask for two
    # rounds, the last of them ending in NFKC.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text)
        text = text if case_sensitive else text.casefold()
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
    return _SPACES.sub(" ", text).strip()


def _simplify(text: str) -> str:
    """Take off one layer of dress, and spell numbers and spaces one way."""
    undressed = _undress(text)
    if undressed != text:
        # LaTeX alone first: until its braces are gone, what a comma means is not known.
        return undressed
    text = _unwrap(text)
    head, bracket, tail = _split_at_bracket(text)
    text = _GROUPED.sub(lambda number: number[0].replace(",", ""), head) + bracket + tail
    text = _TIGHT.sub(r"\1", text)
    text = _COMMA.sub(", ", text).strip()
    text = _PERCENT.sub("%", text)
    text = _NUMBER.sub(lambda number: _spell(number[0]), text)
    signed = _NEEDLESS_SIGN.fullmatch(text)
    return text[1:] if signed else text


_LATEX: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), plain)
    for pattern, plain in (
        (r"\\(?:text|textbf|mathrm|mathbf|boxed|mbox)\s?\{([^{}]*)\}", r"\1"),
        (r"\\[dt]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}", r"\1/\2"),
        (r"\\(?:times|cdot)(?![a-z])", "*"),
        (r"\\div(?![a-z])", "/"),
        (r"\\(?:left|right)(?![a-z])|\\[()\[\]!,;: ]", ""),
        (r"\^\s?(?:\\circ(?![a-z])|\{\\circ\})", "\N{DEGREE SIGN}"),
        (r"\{,\}", ","),
        (r"\\([%$&#_{}])", r"\1"),
    )
)


def _undress(text: str) -> str:
    if "\\" in text or "{,}" in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    return text


def _unwrap(text: str) -> str:
    """Without punctuation at the ends, and without one layer of marks around; never empty."""
    bare = text.lstrip(" ,;:?$").rstrip(" .,;:?$")
    for mark in ("**", "*", "'", "`"):
        inner = bare.removeprefix(mark).removesuffix(mark)
        if len(inner) == len(bare) - 2 * len(mark) and mark not in inner:
            bare = inner.strip()
    if bare.startswith("(") and bare.endswith(")") and not _PARTED.search(bare, 1, len(bare) - 1):
        bare = bare[1:-1].strip()
    return bare or text


_PARTED = re.compile(r"[(),]")
_BRACKET = re.compile(r"[(\[{]")
_GROUPED = re.compile(r"(?<![\w.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_TIGHT = re.compile(r"\s?([-+*/=^<>()\[\]{}:;])\s?")
_COMMA = re.compile(r"\s?,\s?")
_PERCENT = re.compile(r"(?<=[0-9])\s?(?:%|percent\b)", re.IGNORECASE)
_DECIMAL = r"(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:e[+-]?[0-9]{1,18})?"
_NUMBER = re.compile(rf"(?<![\w.]){_DECIMAL}(?!\w|\.[0-9])", re.IGNORECASE)
_NEEDLESS_SIGN = re.compile(rf"\+{_DECIMAL}%?|-0%?", re.IGNORECASE)

PADDING_MAX = 30
"""Zeros that may be written out on either side of a number's digits before an exponent is used."""


def _split_at_bracket(text: str) -> tuple[str, str, str]:
    found = _BRACKET.search(text)
    return text.partition(found[0]) if found else (text, "", "")


def _spell(number: str) -> str:
    """An unsigned decimal without needless zeros, in full or, when that is long, as `d.ddde±n`."""
    mantissa, _, exponent = number.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return "0"
    power = int(exponent or 0) - len(fraction) + len(digits) - len(kept)
    if 0 <= power <= PADDING_MAX:
        return kept + "0" * power
    if power < 0 and -power - len(kept) <= PADDING_MAX:
        kept = kept.rjust(1 - power, "0")
        return f"{kept[:power]}.{kept[power:]}"
    return f"{kept[0]}{'.' if kept[1:] else ''}{kept[1:]}e{power + len(kept) - 1}"
