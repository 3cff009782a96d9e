"""What an answered call of each expert is expected to cost, fresh and refining."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from app.search.growing import Floats
from app.search.skills import Skills

ANSWERED: Final = 4.0
FAILED: Final = 0.5
"""Pseudo-calls of each expert before any was made: most calls are answered."""


def prices(skills: Skills, experts: Sequence[str], expected: Mapping[str, int]) -> Floats:
    """A row an expert: the price of a fresh answer and of a refinement, failed calls included.

    What is `expected` counts as one call. Where nothing is known of an expert, it is taken to cost
    what calls cost on the average; where nothing costs anything, all prices are 1 and only the
    failures tell experts apart.
    """
    known = [skills.known(expert) for expert in experts]
    calls, paid = skills.calls.rows[known], skills.paid.rows[known]
    made = skills.calls.rows.sum()
    usual = skills.paid.rows.sum() / made if made else _mean(expected)
    prior = np.array([expected.get(expert, usual) for expert in experts])
    by_expert = (paid.sum(axis=1) + prior) / (calls.sum(axis=1) + 1)
    by_role = (paid + by_expert[:, None]) / (calls + 1)
    if not by_role.any():
        by_role = np.ones_like(by_role)
    ended = calls.sum(axis=1)
    answered = (ended - skills.failures.rows[known] + ANSWERED) / (ended + ANSWERED + FAILED)
    # A free expert beside dear ones would have an infinite index; it is merely very cheap.
    floor = by_role.max() / 1_000
    return np.asarray(np.maximum(by_role, floor) / answered[:, None])


def _mean(expected: Mapping[str, int]) -> float:
    return sum(expected.values()) / len(expected) if expected else 0.0
