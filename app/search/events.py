"""What happened in a search, one frozen event after another; the log is the search.

An event says what was chosen, not how: replay repeats no draw, so a log from another machine, or
from a version that would choose otherwise, still opens. `seq` is the position in the log, from 1.
"""

from dataclasses import dataclass

from app.errors import GatewayError
from app.search.trial import Trial


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial went out.

    `probability` and `widen` are those of the `Choice` behind it; None where nobody wrote them down
    (a log of version 1, or one rebuilt from a call journal) and, for `widen`, where there was none.
    """

    seq: int
    trial: Trial
    probability: float | None = None
    widen: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A trial came back with a score and became the next node."""

    seq: int
    trial_id: int
    score: float
    cost: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A trial came to nothing; its cost was paid all the same."""

    seq: int
    trial_id: int
    cost: int
    reason: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """An answer that no trial asked for became the next node, a child of the root."""

    seq: int
    expert: str
    score: float
    cost: int


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer became the next node without a score: in a deliberation, never in a search.

    `trial_id` is None where no trial asked for it.
    """

    seq: int
    expert: str
    cost: int
    trial_id: int | None


@dataclass(frozen=True, slots=True)
class ExpertsSet:
    """From here on these experts are asked, and no others."""

    seq: int
    experts: tuple[str, ...]


Event = Asked | Told | Abandoned | Adopted | Heard | ExpertsSet


class UnreadableLog(GatewayError):
    """A log that this program cannot continue: a gap, a contradiction, an unknown kind or version.

    Nothing is guessed. Rebuild the log from the call journal, or read it with a newer version.
    """
