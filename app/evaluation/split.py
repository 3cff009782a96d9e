"""Which problems a gate is fitted on and which it is judged on, and proof that none leaks."""

import random
from collections.abc import Sequence
from typing import Final

import numpy as np

from app.errors import GatewayError
from app.evaluation.figures import auroc
from app.evaluation.recorded import Recording
from app.gate.signals import NAMES

FOLDS: Final = 5
LEAK_AUROC: Final = 0.99
LEAK_LABELS_MIN: Final = 10
"""Of either kind; with fewer, a feature may part them by chance."""


class Leak(GatewayError):
    """What a gate is judged on was known where it was fitted."""


def folds(recordings: Sequence[Recording], seed: int) -> list[tuple[list[int], list[int]]]:
    """Indices to fit on and to judge on, five times; a problem is judged once, and never known."""
    return folds_of([recording.problem_id for recording in recordings], seed)


def folds_of(problem_ids: Sequence[str], seed: int) -> list[tuple[list[int], list[int]]]:
    """As `folds`, of the problems with these ids."""
    problems = sorted(set(problem_ids))
    random.Random(seed).shuffle(problems)
    fold_of = {problem: place % FOLDS for place, problem in enumerate(problems)}
    found: list[tuple[list[int], list[int]]] = []
    for fold in range(FOLDS):
        parts: tuple[list[int], list[int]] = ([], [])
        for index, problem in enumerate(problem_ids):
            parts[fold_of[problem] == fold].append(index)
        if parts[0] and parts[1]:
            found.append(parts)
    return found


def check_split(fitted: Sequence[Recording], judged: Sequence[Recording]) -> None:
    """Raise Leak if a problem is on both sides, or a feature tells the label by itself."""
    both = {one.problem_id for one in fitted} & {one.problem_id for one in judged}
    if both:
        raise Leak(f"{len(both)} problems are fitted and judged on, such as {min(both)}")
    labels = np.array([one.example.cheap_right for one in fitted])
    if min(labels.sum(), len(labels) - labels.sum()) < LEAK_LABELS_MIN:
        return
    features = np.array([one.example.features for one in fitted])
    for column, name in zip(features.T, NAMES, strict=True):
        told = auroc(column, labels)
        if max(told, 1 - told) >= LEAK_AUROC:
            raise Leak(f"feature {name} tells the label: AUROC {told:.3f}")
