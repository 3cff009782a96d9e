"""What is left of a limit, whatever it counts: for callers who want to slow down in time. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Unit(StrEnum):
    """What a limit counts; dollars are counted in nano-dollars."""

    USD = "usd"
    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent-requests"


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit of one scope, as it stood when a request was admitted or refused.

    `window_s` is how long its period is and `ends_at_s` when that ends, as Unix time; both are None
    where it has no end. Of an organisation the limit is not told, for it is also others': what is
    left stands in its place.
    """

    scope: str
    unit: Unit
    period: str
    limit: int
    left: int
    window_s: int | None = None
    ends_at_s: int | None = None

    def after(self, used: int) -> "Quota":
        """The same once so much more of it is used."""
        return replace(self, left=max(0, self.left - used))


def tightest(quotas: Iterable[Quota]) -> tuple[Quota, ...]:
    """Of each unit the quota that has least left, and of several the one that lasts longest."""
    found: dict[Unit, Quota] = {}
    for quota in quotas:
        known = found.get(quota.unit)
        if known is None or _closeness(quota) < _closeness(known):
            found[quota.unit] = quota
    return tuple(found.values())


def _closeness(quota: Quota) -> tuple[int, float]:
    return quota.left, -(float("inf") if quota.ends_at_s is None else quota.ends_at_s)
