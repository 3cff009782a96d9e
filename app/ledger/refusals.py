"""What the ledger says no with: facts in nano-dollars and no SQL, for the planner refuses too."""

from app.errors import GatewayError
from app.money import NanoUSD, to_usd


class BudgetExceeded(GatewayError):
    """An amount does not fit.

    `scope` is the level that refused: request, key or tenant. `resets_at_s` is the Unix time at
    which a new period of that budget starts; None where waiting does not help.
    """

    def __init__(
        self, scope: str, asked: NanoUSD, available: NanoUSD, resets_at_s: int | None = None
    ) -> None:
        super().__init__(
            f"the {scope} budget has ${to_usd(available)} left and ${to_usd(asked)} is needed"
        )
        self.scope, self.asked, self.available = scope, asked, available
        self.resets_at_s = resets_at_s


class LimitReached(GatewayError):
    """The request's own bound on calls or tokens leaves no room for another call."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the request's {limit} is reached")
        self.limit = limit


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
