"""Which experts enter a search: those that together promise most for their price. Pure.

A search that may choose among ten experts spends its first calls on finding out which of them are
any good at this kind of problem. Earlier searches of the same category know: each expert has a
scorecard, and a few of them go in. Chances are drawn, not estimated (Thompson sampling: Russo et
al., A Tutorial on Thompson Sampling, sec. 3), so that an expert with few answers on its card is
tried now and then, and one that was unlucky comes back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from app.money import NanoUSD


@dataclass(frozen=True, slots=True)
class Card:
    """An expert's answers that were scored: how many, how many were right, what they cost."""

    answers: int = 0
    right: float = 0.0
    cost: NanoUSD = NanoUSD(0)

    def told(self, other: "Card") -> "Card":
        """After those of another card."""
        return Card(
            self.answers + other.answers,
            self.right + other.right,
            NanoUSD(self.cost + other.cost),
        )

    def untold(self, other: "Card") -> "Card":
        """After taking them back."""
        if self.answers <= other.answers:
            return Card()  # and no rounding error is left
        return Card(
            self.answers - other.answers,
            self.right - other.right,
            NanoUSD(self.cost - other.cost),
        )


BLANK = Card()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An expert with a drawn chance to be right, and what an answer is expected to cost."""

    name: str
    chance: float
    cost: float


def route(
    cards: Mapping[str, Card],
    expected: Mapping[str, NanoUSD],
    *,
    most: int,
    value: NanoUSD,
    random: Random,
) -> tuple[str, ...]:
    """At most `most` of the experts in `expected`, at least one, in the order of that mapping.

    `expected` says what an answer of each is taken to cost before any was paid for, `value` what a
    right answer is worth. Experts are added as long as one makes the choice worth more.
    """
    left = [_drawn(name, cards.get(name, BLANK), cost, random) for name, cost in expected.items()]
    chosen: list[Candidate] = []
    while left and len(chosen) < most:
        best = max(left, key=lambda one: worth([*chosen, one], value))
        if chosen and worth([*chosen, best], value) <= worth(chosen, value):
            break
        chosen.append(best)
        left.remove(best)
    names = {one.name for one in chosen}
    return tuple(name for name in expected if name in names)


def worth(candidates: Sequence[Candidate], value: NanoUSD) -> float:
    """What asking them in turn, until one is right, gains on average, in nano-dollars.

    The order that costs least is by chance over cost (Smith's rule). Their failures are taken to be
    independent, which flatters large sets; that is why `most` bounds them.
    """
    gained, failing = 0.0, 1.0
    for one in _in_order(candidates):
        gained += failing * (one.chance * value - one.cost)
        failing *= 1.0 - one.chance
    return gained


def _in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: one.cost / max(one.chance, 1e-9))


def _drawn(name: str, card: Card, expected: NanoUSD, random: Random) -> Candidate:
    # One answer at the expected cost, and a uniform prior, until the card says more.
    chance = random.betavariate(1.0 + card.right, 1.0 + card.answers - card.right)
    return Candidate(name, chance, (card.cost + expected) / (card.answers + 1))
