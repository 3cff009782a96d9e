r"""Find the answer in a completion's text: an `<answer>` tag, a `\boxed{}`, JSON, or the last line.

Work is linear in the text: each way reads it once, and no regular expression here can backtrack
over more than a bounded stretch. Nothing here judges an answer or repairs one.
"""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TypeAlias

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"

FENCES_MAX = 64
"""How many fenced blocks, counted from the end, are looked into."""

LINES_MAX = 32
"""How many lines, counted from the end, may be fences, rules and bare labels."""


class Extract(StrEnum):
    """How the answer is found in the text."""

    LAST_LINE = "last_line"
    BOXED = "boxed"
    JSON = "json"
    TAG = "tag"


def extract(text: str, how: Extract | None) -> str | None:
    """The answer in `text`, or None when there is none; never an empty string.

    None as `how` tries, in this order: the last tag, the last box, a JSON object with an `answer`
    (or `final_answer`) key, the last line. Naming a way uses that way only; named, `json` also
    takes JSON without such a key, whole and in canonical form.
    """
    match how:
        case Extract.TAG:
            return _last_tag(text)
        case Extract.BOXED:
            return _last_box(text)
        case Extract.JSON:
            return _from_json(text, whole=True)
        case Extract.LAST_LINE:
            return _last_line(text)
        case None:
            found = (_last_tag(text), _last_box(text), _from_json(text, whole=False))
            return next((answer for answer in found if answer is not None), _last_line(text))


_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)


def _last_tag(text: str) -> str | None:
    answer, opened = None, None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opened = tag.end()
        elif opened is not None:
            answer, opened = text[opened : tag.start()].strip() or answer, None
    return answer


_BRACE = re.compile(r"\\boxed\s*\{|\\[{}]|[{}]")


def _last_box(text: str) -> str | None:
    """The content of the box that opens last, among those whose braces balance."""
    first = text.find("\\boxed")
    if first < 0:
        return None
    answer, answer_at = None, -1
    opened: list[int | None] = []  # where each open box's content starts; None for a plain brace
    for brace in _BRACE.finditer(text, first):
        match brace[0]:
            case "\\{" | "\\}":
                continue
            case "{":
                opened.append(None)
            case "}":
                start = opened.pop() if opened else None
                if start is not None and start > answer_at:
                    inside = text[start : brace.start()].strip()
                    answer, answer_at = (inside, start) if inside else (answer, answer_at)
            case _:
                opened.append(brace.end())
    return answer


def _from_json(text: str, *, whole: bool) -> str | None:
    for document in json_documents(text):
        if not whole and not document.startswith("{"):
            continue
        try:
            found = _pick(json.loads(document), whole=whole)
        except (ValueError, RecursionError):
            continue
        if found:
            return found
    return None


def json_documents(text: str) -> Iterator[str]:
    """What may be JSON in `text`: all of it, then its fenced blocks from the last to the first."""
    yield text.strip()
    for block in reversed(text.split("```")[1::2][-FENCES_MAX:]):
        language, newline, body = block.partition("\n")
        yield (body if newline else language.removeprefix("json")).strip()


def _pick(document: JsonValue, *, whole: bool) -> str | None:
    if isinstance(document, dict):
        for key in ("answer", "final_answer"):
            if key in document:
                return _spell(document[key])
    return _spell(document) if whole else None


def _spell(value: JsonValue) -> str | None:
    """A JSON value as an answer: a string as it is, null as no answer, the rest canonically."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip()
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


_NOTHING = re.compile(r"(?:\\[\[\])]|\$\$|[-*_=`~#>\s])*")
_HEADING = re.compile(r"#{1,6}\s+")
_LABEL = re.compile(
    r"""
    (?:^\W{0,8}|(?<=[.!?]\s)[*_]{0,3})
    (?:(?:so|thus|hence|therefore)\b,?\s{1,3})?
    (?:(?:the|my|our)\s{1,3})?
    (?:(?:final|correct|best|right)\s{1,3})?
    (?:answer|solution|result)[*_]{0,3}
    (?:\s{1,3}is(?:\s{0,3}:|\s)|\s{0,3}[:=]|\s{1,3}[-\u2013\u2014](?=\s))
    (?:(?<!\s)[*_]{1,3})?
    """,
    re.VERBOSE | re.IGNORECASE,
)


def _last_line(text: str) -> str | None:
    rest = text.rstrip()
    for _ in range(LINES_MAX):
        rest, _, line = rest.rpartition("\n")
        if not _NOTHING.fullmatch(line) and (answer := _bare(line)):
            return answer
        rest = rest.rstrip()
    return None


def _bare(line: str) -> str:
    """The line without heading, label, emphasis, backticks and the full stop at its end."""
    line = _HEADING.sub("", line.strip(), count=1)
    labels = list(_LABEL.finditer(line))
    if labels:
        line = line[labels[-1].end() :].strip()
    for _ in range(4):
        line = _unwrap(line)
        if line.endswith(".") and not line.endswith(".."):
            line = line[:-1].rstrip()
    return line


def _unwrap(line: str) -> str:
    """Strip one layer of emphasis or backticks: around the whole line, or left by its label."""
    for mark in ("**", "*", "`"):
        inner = line.removeprefix(mark).removesuffix(mark)
        if len(inner) == len(line) - 2 * len(mark) and mark not in inner:
            return inner.strip()
        if line.count(mark) == 1:
            return line.removesuffix(mark).strip()
    return line
