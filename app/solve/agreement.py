"""Whether answers given so far agree well enough to ask for no more. Pure.

The share of all answers that a model would give which equal the leading one is unknown; under a
uniform prior, after n answers of which m lead, it is Beta(1 + m, 1 + n - m) distributed. Asking
stops once that share is more than a half with the confidence wanted: then a vote among ever more
answers would end no other way. It says how sure the vote is, and not that its outcome is right.

Source: the Beta stopping rule of Adaptive-Consistency (Aggarwal et al. 2023, arXiv 2305.11860),
with the leading answer against all others and not only against the runner-up, which is stricter.
"""

from collections.abc import Sequence
from math import comb


def majority(leading: int, votes: int) -> float:
    """P(share > 1/2) of an answer that `leading` of `votes` gave: .75 by one, .969 by four of four.

    Exact but for one rounding: with whole numbers the tail of a Beta distribution is that of a
    binomial one, sum over j <= leading of C(votes + 1, j) / 2^(votes + 1) (DLMF 8.17.5).
    """
    tail = sum(comb(votes + 1, others) for others in range(leading + 1))
    return tail / (1 << votes + 1)


def still_needed(leading: int, votes: int, *, confidence: float, most: int) -> int:
    """The fewest further votes that could settle it, all of them for the leader; at most `most`."""
    for more in range(most):
        if majority(leading + more, votes + more) >= confidence:
            return more
    return most


def leaders(said: Sequence[str | None]) -> list[int]:
    """The places of the answer that was given most often, the first given of several such.

    Answers are in canonical spelling; None is one that could not be read, and agrees with nothing.
    Empty where none could be read.
    """
    groups: dict[str, list[int]] = {}
    for place, answer in enumerate(said):
        if answer is not None:
            groups.setdefault(answer, []).append(place)
    return max(groups.values(), key=len) if groups else []
