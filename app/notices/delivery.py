"""Delivers what is in the outbox, for as long as the process lives.

Any replica may deliver any notice. One that was sent, but not marked as sent before its process
died, is sent again with the same id: receivers tell repeats by that.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Final

import structlog

from app.db.engine import Database
from app.db.repeating import repeat
from app.ids import TenantId
from app.notices.keyring import secrets_of
from app.notices.mail import Mailer
from app.notices.notice import Channel, Notice, wait_s
from app.notices.outbox import TENANT_CLAIMS_MAX, Claimed, Outbox
from app.notices.poster import NotDelivered, Poster
from app.notices.signing import signed_headers
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Drain

EVERY_S: Final = 1.0
"""How often an outbox that had nothing due is looked into."""

ATTEMPT_S: Final = 30.0
"""For one attempt; well within its lease. Only mail, which takes many steps, may come so far."""

AT_ONCE_MAX: Final = 32
CLEARED_MAX: Final = 1_000
CLEAR_EVERY_S: Final = 60.0

log = structlog.get_logger()


class Delivery:
    """Sends at most AT_ONCE_MAX notices at a time."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        poster: Poster,
        mailer: Mailer,
        metrics: Metrics,
        drain: Drain,
    ) -> None:
        self._db, self._outbox, self._metrics, self._drain = database, outbox, metrics, drain
        self._poster, self._mailer = poster, mailer
        self._sending: dict[asyncio.Task[None], TenantId] = {}
        self._rng = Random()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then wait for what is being sent, which has a deadline."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                repeat(
                    "clearing the outbox",
                    self._clear,
                    every_s=CLEAR_EVERY_S,
                    stop=stop,
                    drain=self._drain,
                )
            )
            await repeat(
                "delivering notices",
                partial(self._deliver_due, tasks),
                every_s=EVERY_S,
                stop=stop,
                drain=self._drain,
            )

    async def _deliver_due(self, tasks: asyncio.TaskGroup) -> bool:
        """Begin to send what is due; True, once one of them is sent, to look for more."""
        counts: dict[TenantId, int] = {}
        for tenant_id in self._sending.values():
            counts[tenant_id] = counts.get(tenant_id, 0) + 1
        busy = [tenant_id for tenant_id, many in counts.items() if many >= TENANT_CLAIMS_MAX]
        room = AT_ONCE_MAX - len(self._sending)
        claimed = await self._outbox.claim(most=room, but_not=busy) if room else ()
        for one in claimed:
            task = tasks.create_task(self._deliver(one))
            self._sending[task] = one.notice.tenant_id
            task.add_done_callback(self._forget)
        if not self._sending:
            return False
        await asyncio.wait(self._sending, timeout=EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def _deliver(self, claimed: Claimed) -> None:
        """Send one notice, and write down what became of it."""
        notice = claimed.notice
        try:
            failure = await self._failure(notice)
            if failure is None:
                outcome = "delivered"
                await self._outbox.delivered(notice.id)
            else:
                outcome = await self._put_off(claimed, failure)
        except Exception:
            # The lease will end, and it will be sent again.
            log.exception("notice_not_settled", notice_id=notice.id)
        else:
            self._metrics.notices.labels(notice.channel, outcome).inc()

    async def _failure(self, notice: Notice) -> NotDelivered | None:
        try:
            async with asyncio.timeout(ATTEMPT_S):
                await self._send(notice)
        except NotDelivered as failure:
            return failure
        except TimeoutError:
            return NotDelivered("timeout")
        return None

    async def _put_off(self, claimed: Claimed, failure: NotDelivered) -> str:
        notice = claimed.notice
        retry_s = None if failure.final else wait_s(claimed.attempt, self._rng)
        settled = await self._outbox.failed(claimed, failure.reason, retry_s=retry_s)
        if retry_s is not None or not settled:
            return "failed"
        log.error(
            "notice_dead",
            notice_id=notice.id,
            tenant_id=notice.tenant_id,
            channel=notice.channel,
            event_type=notice.event,
            attempts=claimed.attempt,
            reason=failure.reason,
        )
        return "dead"

    async def _send(self, notice: Notice) -> None:
        body = notice.body.encode()
        match notice.channel:
            case Channel.WEBHOOK:
                headers = await self._signed(notice, body)
                await self._poster.post(notice.destination, body, headers, trusted=notice.trusted)
            case Channel.SLACK:
                await self._poster.post(notice.destination, body, {}, trusted=notice.trusted)
            case Channel.EMAIL:
                mail: dict[str, str] = json.loads(body)
                await self._mailer.send(
                    notice.destination,
                    subject=mail["subject"],
                    text=mail["text"],
                    notice_id=notice.id,
                )

    async def _signed(self, notice: Notice, body: bytes) -> Mapping[str, str]:
        async with self._db.read() as tx:
            valid = await secrets_of(tx, notice.tenant_id)
        if not valid:
            raise NotDelivered("the tenant has no webhook secret")
        at_s = int(time.time())
        return signed_headers(valid, notice_id=notice.id, at_s=at_s, body=body)

    async def _clear(self) -> bool:
        return await self._outbox.clear(most=CLEARED_MAX) == CLEARED_MAX

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
