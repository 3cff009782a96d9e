"""Batches: many solves under one cap, run in the room that interactive ones leave."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from app.dispatch.batch_runner import BatchRunner
from app.errors import GatewayError
from app.ids import BatchId, batch_id
from app.ledger.batch_lines import BatchLines, LineOutput
from app.ledger.batches import BatchBook, BatchRecord, NewBatch, NewLine
from app.ledger.idempotency import IdempotencyKey, KeyTaken
from app.money import NanoUSD
from app.solve.outcome import ANSWER
from app.solve.running import Running
from app.tenants.directory import Tenant

PAGE: Final = 100
"""So many lines of an output are in memory at a time."""

WINDOWS_S: Final[Mapping[str, float]] = {
    "1h": 3_600.0,
    "6h": 21_600.0,
    "24h": 86_400.0,
    "72h": 259_200.0,
    "168h": 604_800.0,
}
"""How long a batch may take, from the time it was made."""


class NoSuchBatch(GatewayError):
    """This tenant has no batch of that id."""


class BatchCancelled(GatewayError):
    """The line had not begun when its batch was cancelled."""


class BatchExpired(GatewayError):
    """The line had not begun when its batch's time was up."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch may cost in all, how long it may take (one of WINDOWS_S), and its lines."""

    cap: NanoUSD
    window: str
    lines: Sequence[NewLine]


class Batches:
    """What a tenant does with its batches."""

    def __init__(
        self, *, book: BatchBook, lines: BatchLines, runner: BatchRunner, running: Running
    ) -> None:
        self._book, self._lines = book, lines
        self._runner, self._running = runner, running

    async def submit(
        self, tenant: Tenant, order: Order, *, key: IdempotencyKey
    ) -> tuple[BatchRecord, bool]:
        """The batch, and whether it was there before under this key.

        Raises IdempotencyKeyReused where the key came with another batch.
        """
        earlier = await self._book.earlier(tenant.id, key)
        if earlier is None:
            made = batch_id()
            with suppress(KeyTaken):
                await self._book.create(
                    NewBatch(
                        id=made,
                        tenant_id=tenant.id,
                        key_id=tenant.key_id,
                        idempotency=key,
                        cap=order.cap,
                        window=order.window,
                        window_s=WINDOWS_S[order.window],
                        lines=order.lines,
                    )
                )
                self._runner.wake()
                return await self.find(tenant, made), False
            earlier = await self._book.earlier(tenant.id, key)
            assert earlier is not None, "it has just been in the way"
        return await self.find(tenant, earlier), True

    async def find(self, tenant: Tenant, named: str) -> BatchRecord:
        """The batch as it stands. Raises NoSuchBatch for another tenant's, too."""
        # PostgreSQL takes no text with a NUL, not even to look for it.
        found = await self._book.find(tenant.id, named) if named.isprintable() else None
        if found is None:
            raise NoSuchBatch(f"there is no batch {named!r}")
        return found

    async def listed(
        self, tenant: Tenant, *, after: str | None, most: int
    ) -> Sequence[BatchRecord]:
        """The tenant's batches, newest first, behind the one called `after`."""
        if after is not None:
            await self.find(tenant, after)
        return await self._book.listed(tenant.id, after=after, most=most)

    async def cancel(self, tenant: Tenant, named: str) -> BatchRecord:
        """Begin no more of its lines and end those that run; one that has ended stays as it is.

        Lines that run in other processes end within a heartbeat of those.
        """
        found = await self.find(tenant, named)
        self._running.stop(await self._book.cancel(found.id))
        self._runner.wake()
        return await self.find(tenant, named)

    async def output(self, batch: BatchId) -> AsyncGenerator[Sequence[LineOutput]]:
        """The lines that have ended so far, in the order of the input, some at a time."""
        after = 0
        while page := await self._lines.outputs(batch, after=after, most=PAGE, text_name=ANSWER):
            yield page
            after = page[-1].number
