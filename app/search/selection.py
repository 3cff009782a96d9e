"""Which answer to return: its score, who agrees with it, and what the one says of the other.

Equal answers are one answer, measured several times. Where scores can be trusted, the best score
wins; of equal ones that which came up most often, and then the first. A noisy judge's best score is
likely to be luck (regression to the mean): then answers are groups of scores under the mixed model
of AB-MCTS-M, and the largest posterior mean wins, with a little for each time it came up again.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np

from app.search.mixed_model import Groups, MixedPrior, fit

AGREEMENT: Final = 0.05
"""Score units an e-fold of times that an answer came up. Of 0, 0.05 and 0.1, measured on recorded
answers under judges of several errors, it was the best or within chance of it at all of them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored answer; equal `answer`s are the same answer, None is unlike any other."""

    answer: Hashable
    score: float


def select(candidates: Sequence[Scored], *, noisy: bool) -> int:
    """The place of the answer to return, among one or more.

    `noisy`: whether the same answer, scored again, might have another score.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, candidate in enumerate(candidates):
        alike = ("alone", place) if candidate.answer is None else candidate.answer
        groups.setdefault(alike, []).append(place)
    worth = _posterior(candidates, list(groups.values())) if noisy else None
    best, best_key = 0, (-1.0, 0.0, 0)
    for number, places in enumerate(groups.values()):
        # The first of the best of a group, so that a repeat changes nothing but the count.
        place = max(places, key=lambda at: (candidates[at].score, -at))
        score = candidates[place].score if worth is None else float(worth[number])
        key = (score, float(len(places)), -place)
        if key > best_key:
            best, best_key = place, key
    return best


def _posterior(candidates: Sequence[Scored], groups: Sequence[Sequence[int]]) -> Sequence[float]:
    scores = [np.array([candidates[place].score for place in places]) for places in groups]
    means = np.array([group.mean() for group in scores])
    counts = np.array([float(len(group)) for group in scores])
    deviations = np.array([((group - group.mean()) ** 2).sum() for group in scores])
    posterior = fit(Groups(means, counts, deviations), MixedPrior())
    expected, _ = posterior.next_score(means[:, None], counts[:, None], slice(None))
    return [
        float(mean @ posterior.weights) + AGREEMENT * log(count)
        for mean, count in zip(expected, counts, strict=True)
    ]
