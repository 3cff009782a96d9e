"""What is told, and to whom; and how long to wait before it is told again."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from app.ids import TenantId, uuid7

ATTEMPTS_MAX: Final = 11
"""With the waits between them a little more than a day; after that, a notice is dead."""

FIRST_WAIT_S: Final = 5.0
WAIT_FACTOR: Final = 4.0
WAIT_MAX_S: Final = 6 * 3600.0
JITTER: Final = 0.25
"""The share by which a wait is longer or shorter, so that a crowd that failed comes back apart."""


class Channel(StrEnum):
    """How a notice travels."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice to one destination. The `id` stays the same however often it is sent.

    `trusted` says that the operator named the destination, and not a tenant.
    """

    id: str
    tenant_id: TenantId
    channel: Channel
    destination: str
    event: str
    body: str
    trusted: bool = False


def notice_id() -> str:
    """A new notice's id."""
    return f"msg_{uuid7().hex}"


def wait_s(attempts: int, rng: Random) -> float | None:
    """Seconds until the next attempt after so many failed ones; None where there is none."""
    if attempts >= ATTEMPTS_MAX:
        return None
    wait = min(FIRST_WAIT_S * WAIT_FACTOR ** (attempts - 1), WAIT_MAX_S)
    return wait * rng.uniform(1 - JITTER, 1 + JITTER)
