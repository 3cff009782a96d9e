"""A lock by name, held to the end of a transaction: for what must not happen twice at a time."""

from typing import Any

from sqlalchemy import Boolean, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.db.engine import WriteTx


class _Alone(FunctionElement[bool]):
    """Waits until no other transaction has the name."""

    type = Boolean()
    inherit_cache = True


@compiles(_Alone, "sqlite")
def _on_sqlite(_element: _Alone, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401
    return "1"  # whoever writes is alone


@compiles(_Alone, "postgresql")
def _on_postgresql(element: _Alone, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    name = compiler.process(element.clauses, **options)
    return f"pg_advisory_xact_lock(hashtextextended({name}, 0)) IS NOT NULL"


async def alone(tx: WriteTx, name: str) -> None:
    """Have the name for oneself until the transaction ends. Two names may share a lock.

    What others did under it before is seen by the statements that follow.
    """
    await tx.execute(select(_Alone(literal(name))))
