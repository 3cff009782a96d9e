"""What a search says when asked, and how it refuses an answer.

A trial is a request to try something, not yet answered; the tree holds only what was answered.
"""

from dataclasses import dataclass
from enum import StrEnum
from numbers import Real

from app.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Trial:
    """Ask `expert` to improve on node `parent`; 0 is the root, that is, a fresh answer.

    `id` is the number of the ask, from 1; `depth` is that of the node it will make, 1 for a fresh
    answer. `reads` are the nodes it is made from where those are more than its parent: in a
    deliberation, never in a search.
    """

    id: int
    parent: int
    expert: str
    depth: int
    reads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until a trial in flight is told or abandoned."""


class StopReason(StrEnum):
    """Why the search itself would stop; budget and deadline are its caller's reasons.

    `value`: nothing left to try is worth its price. `exhausted`: the algorithm has nothing left to
    try, or enough. `agreement` and `passes` (all have been made) end a deliberation.
    """

    TARGET_SCORE = "target_score"
    PATIENCE = "patience"
    MAX_NODES = "max_nodes"
    EXPERTS_FAILED = "experts_failed"
    VALUE = "value_of_information"
    EXHAUSTED = "exhausted"
    AGREEMENT = "agreement"
    PASSES = "passes"


@dataclass(frozen=True, slots=True)
class Stop:
    """No further trial. Trials in flight may still be told: what was paid for is kept."""

    reason: StopReason


class UnknownTrial(GatewayError):
    """The trial was never asked, or is already told or abandoned."""

    def __init__(self, trial_id: int) -> None:
        super().__init__(f"trial {trial_id}: not in flight")
        self.trial_id = trial_id


class InvalidScore(GatewayError):
    """The score is not a number in [0, 1]. Nothing has changed: its trial is still in flight."""

    def __init__(self, score: object) -> None:
        super().__init__(f"score {score!r}: not a number in [0, 1]")
        self.score = score


def valid_score(score: object) -> float:
    """`score` as a float; InvalidScore for a bool, a NaN, or what is not a number in [0, 1]."""
    if isinstance(score, bool) or not isinstance(score, Real):
        raise InvalidScore(score)
    try:
        number = float(score)
    except OverflowError:  # an int too large for a float
        raise InvalidScore(score) from None
    if not 0.0 <= number <= 1.0:
        raise InvalidScore(score)
    return number
