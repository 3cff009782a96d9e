"""Which of the answers in hand is right, and how likely: by what they say and who says it. Pure.

One answer at most is right, or none of those in hand. A right answer is found by an arm with its
chance; a wrong one coincides with another wrong one at times, so agreement is evidence and no
proof. The chances are the heads', as they stand after an opinion was heard, which is therefore not
counted again where it agreed. It is the one-coin model of Dawid and Skene (1979), with errors that
may coincide.
"""

from collections.abc import Mapping
from typing import Final

COINCIDE: Final = 0.25
"""How often a wrong answer is one of the wrong answers already in hand.

Measured on recorded pairs of a cheap and a strong model: reasoning-gym .11, MMLU-Pro .46 (multiple
choice), Zero-Eval .24 and .28. Where two opinions differ, the likeliest answer is there right as
often as the strong one, or more: by 0, .1, .3 and .9 points.
"""

ELSE: Final = None
"""The hypothesis that no answer in hand is right."""


def posterior(
    *,
    first: str | None,
    second: str | None,
    strong: str | None,
    p_cheap: float,
    p_strong: float,
) -> dict[str, float]:
    """P(right) of each answer in hand, which sum to at most 1; None is one that nobody could read.

    `p_cheap` and `p_strong` are P(right) of the first and the strong arm, given what the second
    opinion said. One that differs is as likely right, where the first is wrong, as the first was;
    one that stands alone is as good as the first.
    """
    beliefs = _cheap(first, second, p_cheap)
    if strong is None:
        return _told(beliefs)
    known = list(_told(beliefs))
    heard = {
        right: belief * _says(strong, right, known, p_strong) for right, belief in beliefs.items()
    }
    if strong not in heard:
        # Neither of the others: the strong arm has found what they have not, or a new error.
        heard[strong] = beliefs[ELSE] * p_strong
    total = sum(heard.values())
    if not total:  # certainties that contradict each other tell nothing
        answers = {*known, strong}
        return dict.fromkeys(answers, 1 / len(answers))
    return _told({right: belief / total for right, belief in heard.items()})


def _cheap(first: str | None, second: str | None, p_cheap: float) -> dict[str | None, float]:
    if first is None and second is None:
        return {ELSE: 1.0}
    if first is None or second is None or first == second:
        return {first if first is not None else second: p_cheap, ELSE: 1 - p_cheap}
    rest = 1 - p_cheap
    return {first: p_cheap, second: rest * p_cheap, ELSE: rest * (1 - p_cheap)}


def _says(strong: str, right: str | None, known: list[str], p_strong: float) -> float:
    """P(the strong arm says this | this is right), `right` being one in hand or none."""
    if strong == right:
        return p_strong
    wrong = [said for said in known if said != right]
    if not wrong:
        return 1 - p_strong
    if strong in wrong:
        return (1 - p_strong) * COINCIDE / len(wrong)
    return (1 - p_strong) * (1 - COINCIDE)


def _told(beliefs: Mapping[str | None, float]) -> dict[str, float]:
    return {said: belief for said, belief in beliefs.items() if said is not None}
