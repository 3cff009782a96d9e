"""What a reply's text shows without asking anyone: counts over its last 8 kB, each as defined here.

A hedge is one of `HEDGES`, a backtrack one of `BACKTRACKS`, as a whole word in any letter case. A
token is four bytes of UTF-8 where the provider did not count. Nothing here reads what the text
says about its own certainty: "confidence: 100 %" counts three digits and no more.
"""

import zlib
from dataclasses import dataclass
from typing import Final

TAIL_BYTES: Final = 8192
"""A conclusion stands at the end; and the cost of a decision must not grow with a reply."""

BYTES_A_TOKEN: Final = 4

HEDGES: Final = frozenset(
    b"maybe perhaps possibly probably likely unlikely might seems seem appears appear guess assume "
    b"assuming presumably approximately roughly unsure uncertain unclear suppose".split()
)
BACKTRACKS: Final = frozenset(
    b"wait actually however alternatively hmm oops mistake wrong incorrect recheck reconsider "
    b"correction instead sorry".split()
)

_WORDS: Final = bytes(
    byte if chr(byte).isalpha() and byte < 128 else ord(" ") for byte in bytes(range(256)).lower()
)
_TOLD: Final = HEDGES | BACKTRACKS
_DIGITS: Final = b"0123456789"


@dataclass(frozen=True, slots=True)
class TextCounts:
    """Of one reply. `zlib_ratio` is compressed by plain bytes: low where a text repeats itself."""

    tokens: int
    chars: int
    lines: int
    hedges: int
    backtracks: int
    digits: int
    zlib_ratio: float


def count_text(text: str, *, tokens: int | None = None) -> TextCounts:
    """The counts of `text`; `tokens` is the provider's count of the whole reply, when it gave one.

    Any string is counted, also one that is not valid Unicode. `chars` is of the whole text.
    """
    tail = text[-TAIL_BYTES:].encode("utf-8", "replace")[-TAIL_BYTES:]
    # One pass over all words: of the few that are left, both kinds are told apart.
    words = list(filter(_TOLD.__contains__, tail.translate(_WORDS).split()))
    return TextCounts(
        tokens=len(text) // BYTES_A_TOKEN if tokens is None else tokens,
        chars=len(text),
        lines=tail.count(b"\n") + 1,
        hedges=sum(map(HEDGES.__contains__, words)),
        backtracks=sum(map(BACKTRACKS.__contains__, words)),
        digits=len(tail) - len(tail.translate(None, _DIGITS)),
        # The fastest level: it tells repetition from prose as well as the best one does.
        zlib_ratio=len(zlib.compress(tail, 1)) / len(tail) if tail else 1.0,
    )
