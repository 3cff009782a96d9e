"""How fine scores are and how far they err, of one evaluator and of several combined.

A search thinks of scores as numbers that vary: it must know that 0.9 cannot come up where eight of
ten is followed by nine of ten, and how much of a difference may be the evaluator's own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, hypot
from typing import Final

FINE: Final = Fraction(1, 1000)
"""The step of scores that may be anything between 0 and 1; no smaller one is told apart."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Scores are multiples of `step`; the same answer, scored again, differs by `noise`.

    (Its standard deviation; 0 where it would always score the same.)
    """

    step: Fraction = FINE
    noise: float = 0.0


RIGHT_OR_WRONG: Final = Scale(Fraction(1))


def parts_of(count: int) -> Scale:
    """Scores that are k of `count`."""
    return Scale(max(FINE, Fraction(1, count)))


def weighted(scales: Sequence[Scale], weights: Sequence[float]) -> Scale:
    """Of the mean by weight; errors are taken to be independent."""
    rational = [Fraction(weight).limit_denominator(1_000_000) for weight in weights]
    total = sum(rational)
    if not total:  # all too small to be told from nothing
        return Scale(noise=max(scale.noise for scale in scales))
    shares = [weight / total for weight in rational]
    pairs = list(zip(scales, shares, strict=True))
    return Scale(
        step=_common(scale.step * share for scale, share in pairs),
        noise=hypot(*(scale.noise * float(share) for scale, share in pairs)),
    )


def one_of(scales: Sequence[Scale]) -> Scale:
    """Of the least of several scores, or of the greatest."""
    return Scale(_common(scale.step for scale in scales), max(scale.noise for scale in scales))


def staged(scales: Sequence[Scale]) -> Scale:
    """Of as many stages: those passed, and the score of the last one."""
    any_of_them = one_of([*scales, RIGHT_OR_WRONG])
    return Scale(max(FINE, any_of_them.step / len(scales)), any_of_them.noise / len(scales))


def _common(steps: Iterable[Fraction]) -> Fraction:
    """The largest step that all of `steps` are multiples of."""
    common = Fraction(0)
    for step in steps:
        below = common.denominator * step.denominator
        common = Fraction(
            gcd(common.numerator * step.denominator, step.numerator * common.denominator), below
        )
    return max(FINE, common)
