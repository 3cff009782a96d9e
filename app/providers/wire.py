"""How a field of a vendor's JSON is read, in every wire format: it fits, or it is not there."""

from typing import Annotated, Final, TypeVar

import msgspec

NAME_LENGTH_MAX: Final = 128

# As many as a database column of 32 bits holds; what is beyond is not a count of tokens.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_T = TypeVar("_T")


def decode(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T | None:
    """None for what is not JSON, or JSON of another shape."""
    try:
        return msgspec.json.decode(raw, type=kind)
    # ValueError is msgspec's own errors and text that is not UTF-8; the other is deep nesting.
    except (ValueError, RecursionError):
        return None


def is_null(raw: msgspec.Raw) -> bool:
    """Whether the field is not there, or null."""
    return bytes(raw) == b"null"


def name_of(written: str | None) -> str | None:
    """An id fit to be stored and logged, else None."""
    fits = written and len(written) <= NAME_LENGTH_MAX and written.isprintable()
    return written if fits else None


def storable(text: str) -> str:
    """The text without the character zero, which PostgreSQL's cannot hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
