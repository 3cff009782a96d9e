"""Keeps the gauges that describe the database fresh, so that no scrape has to wait for a query."""

import asyncio
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from app.db.engine import Database, DatabaseUnavailable
from app.ledger.standing import standing
from app.telemetry.metrics import TENANTS_ALL, TENANTS_MAX, Metrics
from app.tenants.directory import oldest_tenants, tenants_named

EVERY_S: Final = 10.0
DEADLINE_S: Final = 5.0

log = structlog.get_logger()


class Watch:
    """Reads where the ledger stands, over and over."""

    def __init__(self, *, database: Database, metrics: Metrics) -> None:
        self._db, self._metrics = database, metrics

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh the gauges until `stop` is set; a database out of reach leaves them as they are.

        It is told to stop and not cancelled, because a query cut short costs its connection.
        """
        while not stop.is_set():
            await self.refresh()
            try:
                async with asyncio.timeout(EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        """Read once. Tenants made since the last time get series of their own, within the bound."""
        try:
            async with asyncio.timeout(DEADLINE_S), self._db.read() as tx:
                wanted = self._metrics.tenants_wanted
                if TENANTS_ALL in wanted:
                    names = await oldest_tenants(tx, most=TENANTS_MAX)
                else:
                    names = await tenants_named(tx, wanted)
                self._metrics.name_tenants(names)
                found = await standing(tx, apart=self._metrics.tenants_apart)
        except (TimeoutError, DatabaseUnavailable, DBAPIError) as error:
            log.warning("gauges_not_refreshed", reason=type(error).__name__)
        else:
            self._metrics.stand(found)
