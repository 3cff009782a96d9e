"""What a caller's JSON Schema may not do, checked before it is compiled.

It may not reach outside itself: a reference is `#` or `#/…`, so nothing is ever fetched. And it
may not be small to write and huge to check: thirty definitions that each refer twice to the next
are a billion checks, which is the schema's expanded size. A reference into itself (a recursive
schema) is not expanded; the validator remembers what it has checked there.
"""

from dataclasses import dataclass, field
from urllib.parse import unquote

from pydantic import JsonValue

from app.errors import InvalidRequest

DIALECTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
)
NODES_MAX = 5_000
DEPTH_MAX = 64
EXPANDED_MAX = 20_000
CHAIN_MAX = 200
"""References that lead from one to the next."""

FIELD = "config.schema"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many subschemas checking may visit, recursion aside, and whether there is recursion."""

    expanded: int
    is_recursive: bool


def bounds(schema: dict[str, JsonValue]) -> Bounds:
    """The size of `schema`, or `InvalidRequest` where it reaches out or grows too large."""
    dialect = schema.get("$schema", DIALECTS[0])
    if not isinstance(dialect, str) or dialect.rstrip("#") not in DIALECTS:
        raise InvalidRequest(FIELD, f"$schema must be one of {', '.join(DIALECTS)}")
    _refuse_outside(schema)
    expansion = _Expansion(schema)
    return Bounds(expansion.size("#", ()), expansion.is_recursive)


def _refuse_outside(schema: dict[str, JsonValue]) -> None:
    pending: list[tuple[JsonValue, int]] = [(schema, 0)]
    nodes = 0
    while pending:
        node, depth = pending.pop()
        nodes += 1
        if nodes > NODES_MAX or depth > DEPTH_MAX:
            raise InvalidRequest(FIELD, f"more than {NODES_MAX} parts, or {DEPTH_MAX} levels deep")
        if isinstance(node, dict):
            _refuse_keywords(node, is_root=depth == 0)
            pending.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            pending.extend((child, depth + 1) for child in node)


def _refuse_keywords(node: dict[str, JsonValue], *, is_root: bool) -> None:
    """Refuse by the string values of keywords: a property may well be called `$ref`."""
    reference = node.get("$ref")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        raise InvalidRequest(FIELD, f"$ref {reference[:80]!r} must be '#' or start with '#/'")
    for keyword in ("$dynamicRef", "$recursiveRef"):
        if isinstance(node.get(keyword), str):
            raise InvalidRequest(FIELD, f"{keyword} is not supported; use $ref")
    # An inner $id would change what the references below it mean.
    if not is_root and isinstance(node.get("$id"), str):
        raise InvalidRequest(FIELD, "$id is allowed at the top only")


@dataclass(slots=True)
class _Expansion:
    """Counts the parts of a schema with every reference written out."""

    schema: dict[str, JsonValue]
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    is_recursive: bool = False

    def size(self, reference: str, chain: tuple[str, ...]) -> int:
        if reference in chain:
            self.is_recursive = True
            return 1
        if len(chain) > CHAIN_MAX:
            raise InvalidRequest(FIELD, f"more than {CHAIN_MAX} references in a row")
        if reference not in self.sizes:
            nodes, references = _parts(self._target(reference))
            within = (*chain, reference)
            total = nodes + sum(self.size(inner, within) for inner in references)
            if total > EXPANDED_MAX:
                raise InvalidRequest(FIELD, f"more than {EXPANDED_MAX} parts once expanded")
            self.sizes[reference] = total
        return self.sizes[reference]

    def _target(self, reference: str) -> JsonValue:
        """What a JSON pointer (RFC 6901) in a URI fragment points at."""
        node: JsonValue = self.schema
        for part in reference.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdecimal() and int(key[:9]) < len(node):
                node = node[int(key[:9])]
            else:
                raise InvalidRequest(FIELD, f"$ref {reference[:80]!r} points at nothing")
        return node


def _parts(schema: JsonValue) -> tuple[int, list[str]]:
    """How many parts `schema` has, and the references in it."""
    pending, nodes, references = [schema], 0, list[str]()
    while pending:
        node = pending.pop()
        nodes += 1
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                references.append(reference)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return nodes, references
