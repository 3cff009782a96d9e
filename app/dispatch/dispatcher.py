"""What accepts a solve that no client waits for: it runs later, here or in another process."""

from typing import Protocol

from app.errors import GatewayError
from app.ledger.idempotency import IdempotencyKey
from app.solve.legacy import Legacy
from app.solve.request import SolveRequest
from app.solve.run import Run
from app.tenants.directory import Tenant


class BackgroundFull(GatewayError):
    """This process has accepted as many solves for the background as it may."""


class Dispatcher(Protocol):
    """Sees to it that what it has accepted is run, at least once, whatever becomes of it."""

    async def begin(
        self,
        tenant: Tenant,
        request: SolveRequest,
        *,
        key: IdempotencyKey | None,
        legacy: Legacy | None = None,
    ) -> Run:
        """Admit the solve and leave it to run; what is returned is only to be read.

        Raises BackgroundFull, with nothing held, and what `Solver.admit` raises.
        """
        ...

    async def hand_over(self, *, within_s: float) -> None:
        """Begin no more calls, wait for those in flight, and leave the rest to the next replica.

        A call that has not come back `within_s` seconds is given up, and may be made again.
        """
        ...


def refuse_beyond(most: int, *, taken: int) -> None:
    """Raise BackgroundFull where as many are taken as may be."""
    if taken >= most:
        raise BackgroundFull(f"{most} solves run in the background; send it again later")
