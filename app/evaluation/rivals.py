"""What the gate is measured against: policies that know less than it does, and one that knows all.

Each is a sweep from never to always calling the strong arm; where two problems look the same to a
policy, which of them it escalates is left to chance, and its expectation is taken.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.evaluation.figures import Ends, Sweep
from app.evaluation.recorded import Recording
from app.gate.logistic import Array

SHARES: Final = np.linspace(0.0, 1.0, 61)
"""Of problems that go to the strong arm."""


def random_mixing(ends: Ends) -> Sweep:
    """Either arm by the toss of a coin, before any call: nobody pays for both."""
    share = SHARES[:, None]
    return Sweep(
        right=(1 - share) * ends.cheap_right + share * ends.strong_right,
        cost=(1 - share) * ends.cheap_cost + share * ends.strong_cost,
    )


def ranked(ends: Ends, chances: Array) -> Sweep:
    """By P(cheap right), the least first; no opinion is bought."""
    return _escalated(ends, _by_rank(chances), ends.cheap_cost)


def agreement(ends: Ends, recordings: Sequence[Recording], opinion: str) -> Sweep:
    """Buy `opinion` for every problem; those where it differs first. Nothing is learned.

    Where it was not recorded, it costs nothing and differs.
    """
    agreed = np.array([float(one.example.agreed.get(opinion, False)) for one in recordings])
    paid = np.array([one.opinion_costs.get(opinion, 0.0) for one in recordings])
    differ = 1 - agreed.mean()
    share = SHARES[:, None]
    first = np.minimum(share / max(differ, 1e-9), 1.0)
    second = np.clip((share - differ) / max(1 - differ, 1e-9), 0.0, 1.0)
    escalated = agreed * second + (1 - agreed) * first
    return _escalated(ends, escalated, ends.cheap_cost + paid)


def oracle(ends: Ends) -> Sweep:
    """Knows both outcomes: the strong arm where it alone is right, cheapest calls first."""
    helped = (ends.strong_right > ends.cheap_right).astype(np.float64)
    order = np.where(helped > 0, ends.strong_cost, np.inf)
    escalated = np.minimum(_by_rank(order), helped)
    return _escalated(ends, escalated, ends.cheap_cost)


def _by_rank(scores: Array) -> Array:
    """(shares, problems): 1 where a problem is among the share with the least scores."""
    places = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    return (places < np.round(SHARES * len(scores))[:, None]).astype(np.float64)


def _escalated(ends: Ends, escalated: Array, paid: Array) -> Sweep:
    return Sweep(
        right=(1 - escalated) * ends.cheap_right + escalated * ends.strong_right,
        cost=paid + escalated * ends.strong_cost,
    )
