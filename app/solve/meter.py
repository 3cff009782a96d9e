"""What one solve may still spend. Pure: a mirror of its row in the ledger.

The ledger's CHECKs are the law; the meter knows beforehand what they will say, so that a call is
refused before it is journalled, and a hold grows by a round instead of by a call.
"""

from dataclasses import dataclass

from app.ledger.refusals import BudgetExceeded, LimitReached
from app.money import NanoUSD


@dataclass(frozen=True, slots=True)
class Draw:
    """A call's worst case, taken from the hold; `grow` is what the hold must gain for it."""

    max_cost: NanoUSD
    tokens_max: int
    grow: NanoUSD


class Meter:
    """Counts one solve's money, tokens and calls against its bounds; amounts in nano-dollars."""

    def __init__(
        self,
        *,
        cap: NanoUSD,
        hold: NanoUSD,
        tokens_max: int | None = None,
        calls_max: int | None = None,
        spent: NanoUSD = NanoUSD(0),
        tokens: int = 0,
        calls: int = 0,
    ) -> None:
        self.cap, self.hold = cap, hold
        self.spent, self.inflight = spent, NanoUSD(0)
        self.tokens, self.tokens_inflight, self.calls = tokens, 0, calls
        self._tokens_max, self._calls_max = tokens_max, calls_max

    @property
    def left(self) -> NanoUSD:
        """What the cap still allows beside the calls in flight."""
        return NanoUSD(self.cap - self.spent - self.inflight)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight, so that none will give any room back."""
        return not self.inflight and not self.tokens_inflight

    def draw(self, max_cost: NanoUSD, *, tokens_max: int, ahead: NanoUSD) -> Draw:
        """Take a call's worst case, at once, so that two workers cannot both take the same room.

        A hold that is too small grows to `ahead` of room (a round of calls), as far as the cap
        allows. Raises BudgetExceeded or LimitReached when the request's own bounds do not allow it.
        """
        self._check(max_cost, tokens_max)
        room = self.hold - self.spent - self.inflight
        short = max_cost - room
        grow = (
            NanoUSD(min(max(short, ahead - room), self.cap - self.hold))
            if short > 0
            else NanoUSD(0)
        )
        self.hold = NanoUSD(self.hold + grow)
        self.inflight = NanoUSD(self.inflight + max_cost)
        self.tokens_inflight += tokens_max
        self.calls += 1
        return Draw(max_cost, tokens_max, grow)

    def undo(self, draw: Draw) -> None:
        """The ledger refused the draw: nothing was held and no call was made."""
        self.hold = NanoUSD(self.hold - draw.grow)
        self.inflight = NanoUSD(self.inflight - draw.max_cost)
        self.tokens_inflight -= draw.tokens_max
        self.calls -= 1

    def charge(self, draw: Draw, cost: NanoUSD, *, tokens: int) -> None:
        """The call ended: its cost is spent, the rest of its worst case is free again."""
        self.inflight = NanoUSD(self.inflight - draw.max_cost)
        self.spent = NanoUSD(self.spent + cost)
        self.tokens_inflight -= draw.tokens_max
        self.tokens += tokens

    def _check(self, max_cost: NanoUSD, tokens_max: int) -> None:
        if max_cost > self.left:
            raise BudgetExceeded("request", max_cost, self.left)
        if self._calls_max is not None and self.calls >= self._calls_max:
            raise LimitReached("max_calls")
        wanted = self.tokens + self.tokens_inflight + tokens_max
        if self._tokens_max is not None and wanted > self._tokens_max:
            raise LimitReached("max_total_tokens")
