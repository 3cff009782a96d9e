"""What deciding how deep to think has brought for its money. Pure: sums and labels in, figures out.

Money that was spent is exact. What other ways would have cost is estimated from each solve's own
baselines, and how many errors were avoided from the answers of which it is known how right they
were. Where too few are known, nothing is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import sqrt
from typing import Final

from app.learning.lesson import ESCALATED, Lesson
from app.money import NanoUSD

LABELS_MIN: Final = 30
"""Known differences without which nothing is said of errors."""
Z90: Final = 1.645
"""Standard errors on either side of a mean that leave out one in ten."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What solves of one group come to, in nano-dollars.

    `posted` is what all `solves` cost; all others are of those that the gate decided. Of these,
    `cheap_posted` is what the `cheap_solves` cost whose first call alone cost `cheap`, and likewise
    for one strong call. `changed` of them returned another answer than the first; the `searches`
    among them cost `searched` beside the gate's own calls.
    """

    solves: int = 0
    posted: int = 0
    cheap_solves: int = 0
    cheap_posted: int = 0
    cheap: int = 0
    strong_solves: int = 0
    strong_posted: int = 0
    strong: int = 0
    decided: int = 0
    decided_posted: int = 0
    changed: int = 0
    searches: int = 0
    searched: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Sums)))


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much an answer returned in place of the cheap one is righter: -1, 0 or 1, or between.

    `propensity` is how likely its solve was decided as it was; `value` is its tenant's V.
    """

    more_right: float
    propensity: float
    value: NanoUSD


@dataclass(frozen=True, slots=True)
class Estimate:
    """An expected total and the ends of its 90 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Return:
    """One group's account, in nano-dollars; None is what nothing tells.

    `extra` is what was spent beyond the first calls alone, `avoided` the errors that it avoided,
    `worth` those at the price of an error, and `break_even` the price at which the two are equal.
    """

    sums: Sums
    labels: int
    saved_on_strong: int | None
    saved_on_search: int | None
    extra: int | None
    avoided: Estimate | None
    worth: Estimate | None
    break_even: NanoUSD | None

    @property
    def unlabelled(self) -> float | None:
        """The share of changed answers of which it is not known how right they were."""
        if not self.sums.changed:
            return None
        return 1 - min(1.0, self.labels / self.sums.changed)


def difference(lesson: Lesson, value: NanoUSD) -> Difference | None:
    """What a solve tells of the errors that its route avoided; None where it tells nothing.

    That two models agree is no label. A wrong answer in place of another counts as an error made:
    whether the other was right is not known, and nothing is to be flattered.
    """
    if lesson.answered is None or lesson.same is not False:
        return None
    if lesson.source == ESCALATED and lesson.feedback is None:
        return None
    labels = lesson.labels if lesson.source != ESCALATED else _said(lesson)
    right, cheap = labels.get(lesson.answered), labels.get("cheap")
    if right is None:
        return None
    if cheap is None:
        if right > 0:
            return None
        cheap = 1.0
    return Difference(right - cheap, lesson.propensity, value)


def account(sums: Sums, known: Sequence[Difference]) -> Return:
    """The account of a group, of whose changed answers these are known."""
    avoided = total([one.more_right for one in known], known, of=sums.changed)
    worth = total([one.more_right * one.value for one in known], known, of=sums.changed)
    extra = sums.cheap_posted - sums.cheap if sums.cheap_solves else None
    even = None
    if extra is not None and avoided is not None and avoided.value > 0:
        even = NanoUSD(round(max(extra, 0) / avoided.value))
    return Return(
        sums=sums,
        labels=len(known),
        saved_on_strong=sums.strong - sums.strong_posted if sums.strong_solves else None,
        saved_on_search=_saved_on_search(sums),
        extra=extra,
        avoided=avoided,
        worth=worth,
        break_even=even,
    )


def total(values: Sequence[float], known: Sequence[Difference], *, of: int) -> Estimate | None:
    """The sum over `of` answers, estimated from those that are known; None where those are few.

    Each counts for as many as its propensity says (the ratio estimator of Hajek, its variance by
    linearisation); how far the known ones may be from the others is not in the interval.
    """
    if not of:
        return Estimate(0.0, 0.0, 0.0)
    if len(known) < LABELS_MIN:
        return None
    weights = [1 / one.propensity for one in known]
    weight = sum(weights)
    mean = sum(w * value for w, value in zip(weights, values, strict=True)) / weight
    squares = sum((w * (value - mean)) ** 2 for w, value in zip(weights, values, strict=True))
    # No sample of equals is proof: one more, that differs by one, is taken to have been seen.
    unseen = (max(map(abs, values), default=0.0) * max(weights)) ** 2
    spread = Z90 * sqrt(squares + unseen) / weight
    return Estimate(of * mean, of * (mean - spread), of * (mean + spread))


def _saved_on_search(sums: Sums) -> int | None:
    if not sums.searches:
        return None
    return sums.decided * sums.searched // sums.searches - sums.decided_posted


def _said(lesson: Lesson) -> dict[str, float]:
    """What the caller says alone."""
    assert lesson.feedback is not None, "else there is nothing"
    assert lesson.answered is not None, "else nothing was answered"
    told = {lesson.answered: lesson.feedback}
    return told | {"cheap": 0.0} if lesson.feedback == 1 else told
