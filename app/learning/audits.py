"""What this process knows of audits: written down one by one, counted in every replica alike.

Every few seconds, where any was added or labelled, all of them are read and folded anew: what a
certificate says depends on the rows alone, and never on which replica saw them when. Beyond
AUDITS_MAX the oldest no longer count, and looks are counted from those that do.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, func, insert, select
from sqlalchemy.exc import IntegrityError

from app.db.clock import Clock
from app.db.engine import Database, WriteTx
from app.db.repeating import repeat
from app.gate.audited import CATEGORY, TENANT, Audit, Certified, Vigil, watched
from app.gate.certificate import Promise
from app.ids import SolveId, TenantId
from app.learning.lesson import own_level, pools
from app.learning.tables import GateAudit, GateExample
from app.money import NanoUSD
from app.telemetry.auditing import AuditMetrics
from app.telemetry.readiness import Drain

EVERY_S: Final = 5.0
AUDITS_MAX: Final = 100_000
NEW_AUDITS: Final = 200
"""A category with fewer is audited at NEW_SHARE, if at all."""
NEW_SHARE: Final = 0.5

Where = tuple[str, str]
"""A scope, and a level of it."""

_NEWS: Final = select(func.count(), func.count(GateAudit.verified_at), func.max(GateAudit.told_at))
_ALL: Final = (
    select(
        GateAudit.solve_id,
        GateAudit.tenant_id,
        GateAudit.pair,
        GateAudit.category,
        GateAudit.pooled,
        GateAudit.versions,
        GateAudit.audited_at,
        GateAudit.same,
        GateAudit.chance,
        func.coalesce(GateAudit.cheap, GateAudit.feedback).label("cheap"),
        GateAudit.alternative,
        GateAudit.verified_at,
    )
    .order_by(GateAudit.audited_at.desc(), GateAudit.solve_id.desc())
    .limit(AUDITS_MAX)
)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of `gate_audit`, as it is there described, without what the database adds."""

    solve_id: SolveId
    audit_id: SolveId
    tenant_id: TenantId
    pair: str
    category: str | None
    pooled: bool
    versions: str
    propensity: float
    cost: NanoUSD
    same: bool | None = None
    chance: float | None = None
    cheap: float | None = None
    alternative: float | None = None


class Audits:
    """Certificates by tenant and category, for each of the `promises` that policies ask for.

    `doubt` is told the level and the time, in Unix seconds, of each level's last alarm.
    """

    def __init__(
        self,
        database: Database,
        *,
        promises: Collection[Promise],
        doubt: Callable[[Mapping[str, float]], None],
        metrics: AuditMetrics,
        drain: Drain,
    ) -> None:
        self._db, self._drain, self._metrics = database, drain, metrics
        self._promises, self._doubt = frozenset(promises), doubt
        self._vigils: Mapping[tuple[Where, Promise], Vigil] = {}
        self._counted: Counter[Where] = Counter()
        self._news: tuple[int, int, datetime | None] | None = None

    def certified(
        self,
        tenant_id: TenantId,
        pair: str,
        category: str | None,
        *,
        versions: str,
        promise: Promise,
    ) -> Certified | None:
        """The certificate that stands for these experts in their present versions, if any.

        The tenant's own; where it has too few audits to be looked at, its category's.
        """
        own = self._vigils.get((_own(tenant_id, pair, category), promise))
        if own is not None and own.has_looked:
            return own.certified(TENANT, versions=versions)
        pool = self._vigils.get((_pool(pair, category), promise))
        return None if pool is None else pool.certified(CATEGORY, versions=versions)

    def share(
        self, tenant_id: TenantId, pair: str, category: str | None, *, pooled: bool, wanted: float
    ) -> float:
        """How likely an accepted answer is to be audited where `wanted` is what its policy says."""
        where = _pool(pair, category) if pooled else _own(tenant_id, pair, category)
        is_new = wanted > 0 and self._counted[where] < NEW_AUDITS
        return max(wanted, NEW_SHARE) if is_new else wanted

    async def write(self, row: AuditRow) -> None:
        """Write an audit down, with what the caller said meanwhile; one of the same solve stays."""
        try:
            await self._db.write(lambda tx: _write(tx, row))
        except IntegrityError:  # as it was before
            return

    async def begin(self) -> None:
        """Read what was audited before this process began."""
        await self.refresh()

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set."""
        await repeat("audits", self.refresh, every_s=EVERY_S, stop=stop, drain=self._drain)

    async def refresh(self) -> bool:
        """Read all audits where there is news of any; there is never more at once."""
        async with self._db.glance() as tx:
            count, verified, told_at = (await tx.execute(_NEWS)).one()
        if (news := (count, verified, told_at)) == self._news:
            return False
        async with self._db.read() as tx:
            rows = (await tx.execute(_ALL)).mappings().all()
        # A second of arithmetic for the most rows there may be, beside which requests go on.
        self._vigils, self._counted = await asyncio.to_thread(_folded, rows, self._promises)
        self._news = news
        self._stand()
        return False

    def _stand(self) -> None:
        standing, alarms = Counter[str](), Counter[Where]()
        last: dict[str, float] = {}
        for (where, _), vigil in self._vigils.items():
            scope, level = where
            standing[scope] += vigil.certificate.certified is not None
            alarms[where] = max(alarms[where], vigil.alarms)
            if vigil.since_s is not None:
                last[level] = max(last.get(level, vigil.since_s), vigil.since_s)
        self._doubt(last)
        self._metrics.stand(standing, alarms=alarms.total())


def _folded(
    rows: Sequence[RowMapping], promises: Collection[Promise]
) -> tuple[Mapping[tuple[Where, Promise], Vigil], Counter[Where]]:
    by_place: defaultdict[Where, list[Audit]] = defaultdict(list)
    for row in rows:
        audit, pair, category = _audit(row), row["pair"], row["category"]
        by_place[_own(row["tenant_id"], pair, category)].append(audit)
        if row["pooled"]:
            by_place[_pool(pair, category)].append(audit)
    vigils = {
        (where, promise): watched(audits, promise)
        for where, audits in by_place.items()
        for promise in promises
    }
    return vigils, Counter({where: len(audits) for where, audits in by_place.items()})


def _audit(row: RowMapping) -> Audit:
    verified_at = row["verified_at"]
    return Audit(
        id=row["solve_id"],
        versions=row["versions"],
        audited_s=row["audited_at"].timestamp(),
        same=row["same"],
        chance=row["chance"],
        cheap=row["cheap"],
        alternative=row["alternative"],
        verified_s=None if verified_at is None else verified_at.timestamp(),
    )


async def _write(tx: WriteTx, row: AuditRow) -> None:
    # Locked, or a word that comes just now would find no audit, and the audit no word.
    said = select(GateExample.feedback).where(GateExample.solve_id == row.solve_id)
    feedback: float | None = await tx.scalar(said.with_for_update())
    is_verified = row.cheap is not None or feedback is not None
    facts = {name: getattr(row, name) for name in AuditRow.__dataclass_fields__}
    made = insert(GateAudit).values(
        feedback=feedback,
        audited_at=Clock(),
        verified_at=Clock() if is_verified else None,
        told_at=Clock(),
    )
    await tx.execute(made, [facts])


def _own(tenant_id: TenantId, pair: str, category: str | None) -> Where:
    return TENANT, own_level(tenant_id, pair, category)


def _pool(pair: str, category: str | None) -> Where:
    return CATEGORY, pools(pair, category)[-1]
