"""Lessons and versions of weights in the database: written once a second, read by every replica."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Ago, Clock
from app.db.engine import ReadTx, WriteTx
from app.ids import SolveId, TenantId
from app.learning.lesson import Lesson, stored
from app.learning.tables import GateAudit, GateExample, GateWeights

KEPT_S: Final = 396 * 86_400.0
"""Thirteen months."""

_LESSON: Final = tuple(GateExample.__table__.columns[name] for name in Lesson.__dataclass_fields__)
_FACTS: Final = tuple(
    name for name in Lesson.__dataclass_fields__ if name not in {"solve_id", "feedback"}
)
_PUT: Final = upsert(GateExample).values(labelled_at=Clock())
_WRITE: Final = _PUT.on_conflict_do_update(
    index_elements=["solve_id"], set_={name: _PUT.excluded[name] for name in _FACTS}
)
_TELL: Final = (
    upsert(GateExample)
    .values(labelled_at=Clock(), pooled=False)
    .on_conflict_do_update(
        index_elements=["solve_id"],
        set_={"feedback": upsert(GateExample).excluded.feedback, "labelled_at": Clock()},
    )
)


async def write(tx: WriteTx, lessons: Sequence[Lesson]) -> None:
    """Write lessons down; feedback that was there before them stays."""
    if lessons:
        await tx.execute(_WRITE, [dict(stored(lesson)) for lesson in lessons])


async def tell(tx: WriteTx, tenant_id: TenantId, solve_id: SolveId, feedback: float) -> None:
    """What a caller says of a solve's answer, in place of what it said before."""
    row = {"solve_id": solve_id, "tenant_id": tenant_id, "feedback": feedback}
    await tx.execute(_TELL, [row])
    # A later word takes the place of an earlier one, and its place in time.
    audited = update(GateAudit).where(GateAudit.solve_id == solve_id)
    since = func.coalesce(GateAudit.verified_at, Clock())
    await tx.execute(audited.values(feedback=feedback, verified_at=since, told_at=Clock()))


async def lesson_of(tx: ReadTx, solve_id: SolveId) -> Lesson | None:
    """The lesson of a solve, where it is one."""
    query = select(*_LESSON).where(GateExample.solve_id == solve_id, GateExample.pair.is_not(None))
    row = (await tx.execute(query)).mappings().first()
    return None if row is None else _lesson(row)


async def newest(tx: ReadTx, *, most: int) -> Sequence[Lesson]:
    """The lessons that were labelled last, oldest of them first."""
    query = (
        select(*_LESSON)
        .where(GateExample.pair.is_not(None))
        .order_by(GateExample.labelled_at.desc(), GateExample.solve_id.desc())
        .limit(most)
    )
    rows = (await tx.execute(query)).mappings().all()
    return [_lesson(row) for row in reversed(rows)]


async def since(tx: ReadTx, instant: datetime, solve_id: str, *, most: int) -> Sequence[Lesson]:
    """The lessons that were labelled after this one, in the order in which they were."""
    later = or_(
        GateExample.labelled_at > instant,
        and_(GateExample.labelled_at == instant, GateExample.solve_id > solve_id),
    )
    query = (
        select(*_LESSON)
        .where(later, GateExample.pair.is_not(None))
        .order_by(GateExample.labelled_at, GateExample.solve_id)
        .limit(most)
    )
    return [_lesson(row) for row in (await tx.execute(query)).mappings().all()]


async def forget(tx: WriteTx) -> None:
    """Drop the lessons that have been kept for thirteen months."""
    await tx.execute(delete(GateExample).where(GateExample.labelled_at < Ago(KEPT_S)))


async def register(tx: WriteTx, document: Mapping[str, Any], *, promoted: bool) -> None:
    """Keep a version of the weights, if it is new, so that its decisions can be made again."""
    made = upsert(GateWeights).values(
        version=document["version"],
        document=bindparam("document"),
        made_at=Clock(),
        promoted_at=Clock() if promoted else None,
    )
    await tx.execute(made.on_conflict_do_nothing(), [{"document": dict(document)}])


async def promoted(tx: ReadTx) -> str | None:
    """The version that decides, where any was promoted."""
    query = (
        select(GateWeights.version)
        .where(GateWeights.promoted_at.is_not(None))
        .order_by(GateWeights.promoted_at.desc(), GateWeights.version)
        .limit(1)
    )
    found: str | None = await tx.scalar(query)
    return found


async def document_at(tx: ReadTx, version: str) -> Mapping[str, Any] | None:
    """The weights of a version."""
    found: Mapping[str, Any] | None = await tx.scalar(
        select(GateWeights.document).where(GateWeights.version == version)
    )
    return found


def before(instant: datetime, seconds: float) -> datetime:
    """So many seconds earlier."""
    return instant - timedelta(seconds=seconds)


def _lesson(row: RowMapping) -> Lesson:
    facts: dict[str, Any] = {str(name): value for name, value in row.items()}
    features = facts.pop("features")
    return Lesson(**facts, features=None if features is None else tuple(features))
