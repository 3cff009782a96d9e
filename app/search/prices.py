"""What an answered call of each expert is expected to cost, fresh and refining, and a node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.search.growing import Floats
from app.search.settings import SearchSettings
from app.search.skills import Skills
from app.search.tree import Node

ANSWERED: Final = 4.0
FAILED: Final = 0.5
"""Pseudo-calls of each expert before any was made: most calls are answered."""


@dataclass(slots=True)
class Scarcity:
    """How many nodes a search has left for the money that it has left.

    A search that goes by money alone spends all its nodes on the cheapest expert, however often
    that one is wrong, and ends with most of its budget unspent. Both bounds together make a node
    worth what may still be spent on it: the multiplier of the bound on nodes, were each to get the
    same. But most searches end before their nodes do, so that it counts only by the share that is
    used up: the cheap are asked first, and the dear where they have been wrong.
    """

    budget: int | None
    nodes_max: int
    patience: int | None
    best: float = -1.0
    nodes: int = 0
    in_vain: int = 0

    @classmethod
    def of(cls, settings: SearchSettings) -> "Scarcity":
        """Before the first node."""
        return cls(settings.budget, settings.max_nodes, settings.patience)

    def told(self, node: Node) -> None:
        """Count a node, and whether it is a better one."""
        self.nodes += 1
        self.in_vain = 0 if node.score > self.best else self.in_vain + 1
        self.best = max(self.best, node.score)

    def node_price(self, spent: int, *, in_flight: int) -> float:
        """In units of cost, beside `spent` and that many trials; 0 where no budget is known."""
        if self.budget is None:
            return 0.0
        left, used = self.nodes_max - self.nodes, self.nodes
        if self.patience is not None and self.patience - self.in_vain < left:
            left, used = self.patience - self.in_vain, self.in_vain
        left = max(1, left - in_flight)
        return max(0, self.budget - spent) / left * used / (used + left)


def prices(skills: Skills, experts: Sequence[str], expected: Mapping[str, int]) -> Floats:
    """A row an expert: the price of a fresh answer and of a refinement, failed calls included.

    What is `expected` counts as one call. Where nothing is known of an expert, it is taken to cost
    what calls cost on the average; where nothing costs anything, all prices are 1 and only the
    failures tell experts apart.
    """
    made = skills.calls_ended
    usual = skills.spent / made if made else _mean(expected)
    paid = np.array([_paid(skills, expert, expected.get(expert, usual)) for expert in experts])
    if not paid.any():
        paid = np.ones_like(paid)
    # A free expert beside dear ones would be of infinite worth; it is merely very cheap.
    affordable = np.maximum(paid, paid.max() / 1_000)
    return np.asarray(affordable / [[_answered(skills, expert)] for expert in experts])


def _paid(skills: Skills, expert: str, expected: float) -> tuple[float, float]:
    """The mean cost of a call, fresh and refining; each is shrunk to that of all calls."""
    row = skills.known(expert)
    fresh_calls, refining_calls = skills.calls[row]
    fresh, refining = skills.paid[row]
    either = (fresh + refining + expected) / (fresh_calls + refining_calls + 1)
    return (fresh + either) / (fresh_calls + 1), (refining + either) / (refining_calls + 1)


def _answered(skills: Skills, expert: str) -> float:
    """The share of calls that are answered."""
    row = skills.known(expert)
    ended = sum(skills.calls[row])
    return (ended - skills.failures[row] + ANSWERED) / (ended + ANSWERED + FAILED)


def _mean(expected: Mapping[str, int]) -> float:
    return sum(expected.values()) / len(expected) if expected else 0.0
