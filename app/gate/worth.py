"""The value-of-computation rule: which arm is worth most, and whether to ask once more before.

U(arm) = V * P(right | arm) - cost - price of a second * latency, within the caps. Everything is in
one unit of money. With a verifier the arms are accept, strong and search, and no opinion is bought:
a score says more than agreement. Without one they are accept and strong, since a search has nothing
to climb, and an opinion is bought where its expected value of sample information (EVSI) exceeds
its price.

A higher V never lowers the escalation, and a dearer strong arm never raises it. An opinion could
break both by what it may take back: once escalation stands, it is credited with the strong call
that agreement saves, and not with a cheap answer that would then be the better one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Final

from app.gate.heads import Chances, Outlook, gain

FREE: Final = 1e-6
"""No price is taken for less, so that two free opinions are compared by what they tell."""


class Arm(StrEnum):
    """What a request may be answered by, from the cheapest to the dearest."""

    ACCEPT = "accept"
    STRONG = "strong"
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class Price:
    """Expected of one more step: money, and seconds of waiting."""

    cost: float
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """`value` is V, the price of a wrong answer; `cost_max` bounds what one more step may cost.

    `labels` is how many problems with both arms' outcomes the chances rest on.
    """

    value: float
    strong: Price
    labels: int
    second_cost: float = 0.0
    cost_max: float = inf
    latency_max_s: float = inf

    def burden(self, price: Price) -> float:
        """What a step takes from the utility; infinite where a cap forbids it."""
        allowed = price.cost <= self.cost_max and price.latency_s <= self.latency_max_s
        burden = price.cost + self.second_cost * price.latency_s
        return burden if allowed and isfinite(burden) else inf


@dataclass(frozen=True, slots=True)
class Take:
    """The arm of greatest worth; `worth` is its utility above accepting."""

    arm: Arm
    worth: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Buy this opinion first; `worth` is its EVSI less its price."""

    opinion: str
    worth: float


def take(chances: Chances, terms: Terms) -> Take:
    """Accept or one strong call, on these chances; a tie is accepted."""
    worth = terms.value * gain(chances, terms.labels) - terms.burden(terms.strong)
    return Take(Arm.STRONG, worth) if worth > 0 else Take(Arm.ACCEPT, 0.0)


def take_verified(chances: Chances, terms: Terms, search: Price) -> Take:
    """As `take`, where a verifier lets a search be climbed."""
    best = take(chances, terms)
    climb = terms.value * (chances.search - chances.cheap) - terms.burden(search)
    return Take(Arm.SEARCH, climb) if climb > best.worth else best


def weigh(now: Chances, outlooks: Mapping[str, tuple[Outlook, Price]], terms: Terms) -> Take | Ask:
    """Take an arm, or first ask for the opinion that tells most for its price.

    `now` is used where no opinion is for sale, and its own mixture otherwise. Which opinion is
    considered depends on neither V nor the strong arm's price: else a higher V could change the
    adviser, and the new one agree where the old one did not.
    """
    if not outlooks:
        return take(now, terms)
    name = max(outlooks, key=lambda name: _telling(*outlooks[name], terms.labels))
    outlook, price = outlooks[name]
    worth = evsi(outlook, terms) - terms.burden(price)
    return Ask(name, worth) if worth > 0 else take(outlook.now, terms)


def _telling(outlook: Outlook, price: Price, labels: int) -> float:
    """How far an opinion moves the gain, for its money."""
    moves = abs(gain(outlook.differed, labels) - gain(outlook.agreed, labels))
    return outlook.agrees * (1 - outlook.agrees) * moves / max(price.cost, FREE)


def evsi(outlook: Outlook, terms: Terms) -> float:
    """Expected value of knowing whether the opinion agrees, before its price; never negative."""
    burden = terms.burden(terms.strong)
    if burden == inf:
        return 0.0
    branches = (
        (outlook.agrees, terms.value * gain(outlook.agreed, terms.labels)),
        (1 - outlook.agrees, terms.value * gain(outlook.differed, terms.labels)),
    )
    if take(outlook.now, terms).arm is Arm.STRONG:
        # Escalation stands; the opinion can save a strong call, and is credited with no more.
        return sum(share * max(0.0, burden - max(0.0, worth)) for share, worth in branches)
    return sum(share * max(0.0, worth - burden) for share, worth in branches)
