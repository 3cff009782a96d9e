"""What the ledger says no with: facts in nano-dollars and no SQL, for the planner refuses too."""

import math
from collections.abc import Sequence
from typing import Final

from app.errors import GatewayError
from app.ledger.quotas import Quota, Unit
from app.money import NanoUSD, to_usd

COUNTS: Final = {
    Unit.USD: "usd",
    Unit.REQUESTS: "requests_per_minute",
    Unit.TOKENS: "tokens_per_minute",
    Unit.CONCURRENT: "concurrency",
}
"""What limits are called, as they are set."""


class BudgetExceeded(GatewayError):
    """An amount does not fit.

    `scope` is the level that refused: request, key, project, tenant or org. `resets_at_s` is the
    Unix time at which a new period of that budget starts; None where waiting does not help.
    `quotas` are those that were found to be tightest.
    """

    def __init__(
        self,
        scope: str,
        asked: NanoUSD,
        available: NanoUSD,
        resets_at_s: int | None = None,
        *,
        quotas: Sequence[Quota] = (),
    ) -> None:
        super().__init__(
            f"the {scope} budget has ${to_usd(available)} left and ${to_usd(asked)} is needed"
        )
        self.scope, self.asked, self.available = scope, asked, available
        self.resets_at_s, self.quotas = resets_at_s, tuple(quotas)


class LadderReached(GatewayError):
    """So much of a budget is used that only single calls are begun.

    `at` is from which part of it on, in ten-thousandths; `resets_at_s` as of a BudgetExceeded.
    """

    def __init__(
        self,
        scope: str,
        *,
        at: int,
        resets_at_s: int | None = None,
        quotas: Sequence[Quota] = (),
    ) -> None:
        super().__init__(f"from {at / 100:g} % of the {scope} budget on, only mode single is run")
        self.scope, self.at, self.resets_at_s = scope, at, resets_at_s
        self.quotas = tuple(quotas)


class LimitReached(GatewayError):
    """The request's own bound on calls or tokens leaves no room for another call."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the request's {limit} is reached")
        self.limit = limit


class RateLimited(LimitReached):
    """So many requests or tokens a minute, or solves at once, are reached: an operator's limit.

    `retry_after_s` is when it may be tried again; of solves at once nobody knows when one ends.
    `passes` says whether that may help: not where a limit is below what is asked of it.
    """

    def __init__(self, quota: Quota, *, asked: int, at_s: float) -> None:
        super().__init__(COUNTS[quota.unit])
        left = max(0, quota.left)
        allowed = f"{self.limit} of the {quota.scope} is {quota.limit}"
        self.args = (f"{allowed}: {left} left, and {asked} needed",)
        self.scope, self.quotas, self.passes = quota.scope, (quota,), asked <= quota.limit
        ends = quota.ends_at_s
        self.retry_after_s = 1 if ends is None else max(1, math.ceil(ends - at_s))


class AlreadyAsked(GatewayError):
    """The same request was sent before under its idempotency key, and started this solve."""

    def __init__(self, solve_id: str) -> None:
        super().__init__(f"the idempotency key belongs to solve {solve_id}")
        self.solve_id = solve_id


class IdempotencyKeyReused(GatewayError):
    """The idempotency key came with another body before; a new request needs a new key."""


class CancelAsked(GatewayError):
    """Somebody has asked for this solve to end: nothing more is begun for it."""


class ClaimLost(GatewayError):
    """Another process has claimed this solve; what this one still decides no longer counts."""
