"""What this process knows of how often each expert is right, by category of problems.

As the gate's labels: counted in memory at once, written down every few seconds, and read from there
by every replica. What is lost by a crash is a few seconds of scores, and an acknowledgement that is
lost may count some twice: these are estimates, and nothing is paid by them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.clock import Ago, Clock
from app.db.engine import Database, DatabaseUnavailable, WriteTx
from app.db.repeating import repeat
from app.gate.routing import BLANK, Card
from app.ids import TenantId
from app.learning.book import KEPT_S
from app.learning.tables import ExpertScore
from app.money import NanoUSD
from app.telemetry.readiness import Drain

EVERY_S: Final = 5.0
CARDS_MAX: Final = 50_000
"""The fullest ones are read; categories are named by callers, and nobody bounds how many."""

POOL: Final = ""
"""Whose cards all tenants share."""

Place = tuple[str, str, str, bool]
"""A row: tenant, category, expert, and whether it is pooled."""

_PUT: Final = upsert(ExpertScore).values(told_at=Clock())
_ADD: Final = _PUT.on_conflict_do_update(
    index_elements=["tenant_id", "category", "expert", "pooled"],
    set_={
        "answers": ExpertScore.answers + _PUT.excluded.answers,
        "right": ExpertScore.right + _PUT.excluded.right,
        "cost": ExpertScore.cost + _PUT.excluded.cost,
        "told_at": Clock(),
    },
)
_WHOSE: Final = case((ExpertScore.pooled, POOL), else_=ExpertScore.tenant_id).label("whose")
_ALL: Final = (
    select(
        _WHOSE,
        ExpertScore.category,
        ExpertScore.expert,
        func.sum(ExpertScore.answers),
        func.sum(ExpertScore.right),
        func.sum(ExpertScore.cost),
    )
    .group_by(_WHOSE, ExpertScore.category, ExpertScore.expert)
    .order_by(func.sum(ExpertScore.answers).desc())
    .limit(CARDS_MAX)
)


class Scorecards:
    """Cards by category: those that all tenants fill, and those that a tenant keeps to itself."""

    def __init__(self, database: Database, *, drain: Drain) -> None:
        self._db, self._drain = database, drain
        self._known: defaultdict[tuple[str, str], dict[str, Card]] = defaultdict(dict)
        self._unwritten: dict[Place, Card] = {}

    def cards(self, tenant_id: TenantId, category: str | None) -> Mapping[str, Card]:
        """By expert and version: the pool's, and what a tenant that does not pool has beside it."""
        shared = self._known.get((POOL, category or ""), {})
        own = self._known.get((tenant_id, category or ""), {})
        return {
            expert: shared.get(expert, BLANK).told(own.get(expert, BLANK))
            for expert in shared.keys() | own.keys()
        }

    def tell(
        self,
        tenant_id: TenantId,
        category: str | None,
        scores: Mapping[str, Card],
        *,
        pooled: bool,
    ) -> None:
        """Count scores at once; write them soon."""
        for expert, card in scores.items():
            place = (tenant_id, category or "", expert, pooled)
            self._unwritten[place] = self._unwritten.get(place, BLANK).told(card)
            self._count(place, card)

    async def run(self, stop: asyncio.Event) -> None:
        """Write and read until `stop` is set, and write what is left."""
        await repeat("scorecards", self.refresh, every_s=EVERY_S, stop=stop, drain=self._drain)
        with suppress(DatabaseUnavailable):
            await self._flush()

    async def begin(self) -> None:
        """Read what was learned before this process began, and drop what is thirteen months old."""

        async def forget(tx: WriteTx) -> None:
            await tx.execute(delete(ExpertScore).where(ExpertScore.told_at < Ago(KEPT_S)))

        await self._db.write(forget)
        await self.refresh()

    async def refresh(self) -> bool:
        """Write what was scored here, read what was elsewhere; there is never more at once."""
        await self._flush()
        async with self._db.glance() as tx:
            rows = (await tx.execute(_ALL)).all()
        self._known.clear()
        for whose, category, expert, answers, right, cost in rows:
            self._known[whose, category][expert] = Card(answers, right, NanoUSD(int(cost)))
        for place, card in self._unwritten.items():
            self._count(place, card)
        return False

    async def _flush(self) -> None:
        telling, self._unwritten = self._unwritten, {}
        if not telling:
            return
        rows = [
            {
                "tenant_id": tenant_id,
                "category": category,
                "expert": expert,
                "pooled": pooled,
                "answers": card.answers,
                "right": card.right,
                "cost": card.cost,
            }
            # In one order, so that two replicas cannot wait for each other.
            for (tenant_id, category, expert, pooled), card in sorted(telling.items())
        ]

        async def add(tx: WriteTx) -> None:
            await tx.execute(_ADD, rows)

        try:
            await self._db.write(add)
        except BaseException:
            for place, card in telling.items():
                self._unwritten[place] = self._unwritten.get(place, BLANK).told(card)
            raise

    def _count(self, place: Place, card: Card) -> None:
        tenant_id, category, expert, pooled = place
        known = self._known[POOL if pooled else tenant_id, category]
        known[expert] = known.get(expert, BLANK).told(card)
