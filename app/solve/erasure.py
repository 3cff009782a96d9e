"""Texts that are kept no longer: what was asked and answered goes, money, ids and hashes stay.

How long a text is kept is written when its solve ends, by the policy of then. A solve that has not
ended needs its texts, and keeps them.

Copies go with what they are copies of: those of solves that went on from one, or repeated it, once
they have ended themselves.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from app.db.engine import Database, WriteTx
from app.db.repeating import repeat
from app.ids import SolveId, TenantId
from app.ledger import retention
from app.solve.report import document_without_texts
from app.telemetry.readiness import Drain

EVERY_S: Final = 60.0

AT_ONCE_MAX: Final = 100
"""Solves a transaction."""

DETAILS_KEPT_S: Final = 7 * 86_400.0
"""How long a batch says after its end why a line of it was refused."""


class Erasure:
    """Erases the texts of ended solves: of those that are due, and of those an operator names."""

    def __init__(self, *, database: Database, drain: Drain) -> None:
        self._db, self._drain = database, drain

    async def run(self, stop: asyncio.Event) -> None:
        """Erase what is due until `stop` is set."""
        await repeat("erasing texts", self.erase_due, every_s=EVERY_S, stop=stop, drain=self._drain)

    async def erase_due(self) -> bool:
        """Erase a bounded number of those whose time is over; whether there may be more."""
        async with self._db.glance() as tx:
            due = await retention.due(tx, most=AT_ONCE_MAX)
        if due:
            await _erase(self._db, due)
        await self._db.write(partial(retention.erase_details, older_s=DETAILS_KEPT_S))
        copies = await _erase_copies(self._db)
        return AT_ONCE_MAX in {len(due), copies}


async def erase(database: Database, solve_ids: Sequence[SolveId]) -> int:
    """Erase the texts of those of these solves that have ended, and copies; how many those are."""
    count = await _erase(database, solve_ids)
    while copies := await _erase_copies(database):
        count += copies
    return count


async def erase_tenant(database: Database, tenant_id: TenantId) -> int:
    """Erase the texts of every ended solve of a tenant; of how many there were any.

    And why lines of its batches that have ended were refused.
    """
    await database.write(partial(retention.erase_details, of=tenant_id, older_s=0.0))
    count = 0
    while True:
        async with database.glance() as tx:
            found = await retention.with_texts(tx, tenant_id, most=AT_ONCE_MAX)
        if not found:
            return count
        count += await _erase(database, found)


async def _erase_copies(database: Database) -> int:
    """Erase a bounded number of copies of what was erased; of how many solves."""
    async with database.glance() as tx:
        found = await retention.left_behind(tx, most=AT_ONCE_MAX)
    return await _erase(database, found) if found else 0


async def _erase(database: Database, solve_ids: Sequence[SolveId]) -> int:
    async def work(tx: WriteTx) -> int:
        kept = await retention.ended_results(tx, solve_ids)
        scrubbed = {solve_id: document_without_texts(result) for solve_id, result in kept.items()}
        await retention.erase_ended(tx, scrubbed)
        return len(scrubbed)

    return await database.write(work)
