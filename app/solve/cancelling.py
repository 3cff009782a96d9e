"""Ending a solve because its tenant asks for it, in this process or in another."""

from app.ledger.ledger import Ledger
from app.solve.archive import Archive, Archived
from app.solve.running import Running
from app.tenants.directory import Tenant


class Cancelling:
    """Marks a solve in the ledger, and stops it at once where it runs here."""

    def __init__(self, *, ledger: Ledger, archive: Archive, running: Running) -> None:
        self._ledger, self._archive, self._running = ledger, archive, running

    async def cancel(self, tenant: Tenant, solve_id: str) -> Archived:
        """The solve after that: ended if it ran here, else within its runner's next heartbeat.

        One that has ended stays as it is. Raises NoSuchSolve for another tenant's, too.
        """
        found = await self._archive.find(tenant, solve_id)
        if found.solved is not None:
            return found
        # First the mark: should this process die of what follows, the next one still ends it.
        await self._ledger.cancel(found.record.id)
        await self._running.cancel(found.record.id)
        return await self._archive.find(tenant, solve_id)
