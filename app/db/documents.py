"""Looking into a JSON document the same way in both databases."""

from typing import Any

from sqlalchemy import ColumnElement, String, cast, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class MetadataText(FunctionElement[str]):
    """The text under a key of a document's `metadata`; NULL where there is none.

    Written out for each database, because SQLite's paths cannot name a key that holds a quote.
    """

    type = String()
    inherit_cache = True

    def __init__(self, document: ColumnElement[Any], key: str) -> None:
        super().__init__(document, cast(literal(key), String()))


@compiles(MetadataText, "sqlite")
def _on_sqlite(element: MetadataText, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    document, key = (compiler.process(part, **options) for part in element.clauses)
    members = f"json_each({document}, '$.metadata') AS member"
    return f"(SELECT member.value FROM {members} WHERE member.key = {key})"  # noqa: S608 - parts of ours


@compiles(MetadataText, "postgresql")
def _on_postgresql(element: MetadataText, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    document, key = (compiler.process(part, **options) for part in element.clauses)
    return f"({document} -> 'metadata' ->> {key})"
