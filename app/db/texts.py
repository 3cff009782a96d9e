"""Text as every database can keep it.

Models and providers send what PostgreSQL refuses: a NUL, or half of an emoji that a stream has cut.
Their answers are paid for by then, so they are kept without that, not refused.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | float | None"

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """The text with each NUL and each lone surrogate replaced."""
    units = text.replace("\0", REPLACEMENT).encode("utf-16", "surrogatepass")
    return units.decode("utf-16", "replace")


def storable_document(value: Json) -> Json:
    """A JSON value with each of its texts storable."""
    match value:
        case str():
            return storable(value)
        case Mapping():
            return {storable(key): storable_document(inner) for key, inner in value.items()}
        case Sequence():
            return [storable_document(inner) for inner in value]
        case _:
            return value
