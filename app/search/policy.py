"""The seam between the search's bookkeeping and the algorithm that chooses.

`Search` keeps what every algorithm needs: the log, the tree, the trials in flight, the experts, and
when to stop. A policy keeps what its own choice needs, and nothing else may change that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.search.tree import Node, Tree
from app.search.trial import Stop, Trial, Wait


@dataclass(frozen=True, slots=True)
class Choice:
    """What to try next, and how likely that was.

    `parent` is the node to expand, 0 for the root. `probability` is that of this choice among all,
    given what the policy drew before it chose; 1.0 when nothing was drawn. `widen` is the chance of
    one more child just where the way down ended, against going on below; None if nothing was
    weighed there.
    """

    parent: int
    expert: str
    probability: float
    widen: float | None = None


class Policy(Protocol):
    """Chooses what to try next; keeps statistics, and changes them only when told of an event.

    `asked`, `told` and `abandoned` come from `Search.apply` alone, in the order of the log, so that
    a live search and a replayed one have the same policy.
    """

    def choose(
        self,
        tree: Tree,
        experts: Sequence[str],
        in_flight: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Choice | Wait | Stop:
        """What to try next, with one of `experts` (at least one). Changes nothing.

        `rng` is made for this one ask and not to be kept. Wait only while a trial is in flight.
        """
        ...

    def asked(self, trial: Trial) -> None:
        """`trial` went out."""
        ...

    def told(self, node: Node) -> None:
        """`node`, already in the tree, came of its trial, or was adopted (`trial_id` None)."""
        ...

    def abandoned(self, trial: Trial, cost: int) -> None:
        """`trial` came to nothing and cost this."""
        ...
