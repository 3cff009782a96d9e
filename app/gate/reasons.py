"""A decision's reasons in a reader's words: the features that moved a head most, and which way."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from app.gate.logistic import Array
from app.gate.signals import NAMES

REASONS_MAX: Final = 2
LEAST: Final = 0.1
"""In log-odds; what moves a head less is not told."""

_SAID: Final[Mapping[str, tuple[str, str]]] = {
    "unparsed": ("no answer could be read", "an answer could be read"),
    "truncated": ("the reply was cut off", "the reply was not cut off"),
    "tagged": ("the answer stands in its tag", "the answer stands in no tag"),
    "log_answer_chars": ("the answer is long", "the answer is short"),
    "numeric": ("the answer is a number", "the answer is not a number"),
    "log_tokens": ("the reply is long", "the reply is short"),
    "log_tokens_squared": ("the reply is long", "the reply is short"),
    "log_chars": ("the reply is long", "the reply is short"),
    "log_lines": ("the reply has many lines", "the reply has few lines"),
    "log_hedges": ("the reply hedges", "the reply does not hedge"),
    "hedges_a_token": ("the reply hedges", "the reply does not hedge"),
    "log_backtracks": ("the reply takes steps back", "the reply takes no step back"),
    "backtracks_a_token": ("the reply takes steps back", "the reply takes no step back"),
    "log_digits": ("the reply reckons with many digits", "the reply has few digits"),
    "digits_a_char": ("the reply is mostly digits", "the reply has few digits"),
    "zlib_ratio": ("the reply hardly repeats itself", "the reply repeats itself"),
    "log_prompt_tokens": ("the problem is long", "the problem is short"),
    "log_tokens_by_prompt": (
        "the reply is long for its problem",
        "the reply is short for its problem",
    ),
    "q0": ("its least certain word was likely", "one of its words was unlikely"),
    "q10": ("its words were likely", "some of its words were unlikely"),
    "q25": ("its words were likely", "many of its words were unlikely"),
    "q50": ("its words were likely", "most of its words were unlikely"),
    "mean": ("its words were likely", "its words were unlikely"),
    "lowest_group": ("no stretch of it was unlikely", "a stretch of it was unlikely"),
    "tail": ("its end was likely", "its end was unlikely"),
    "margin": ("its answer had no rival", "its answer had a close rival"),
}


def spoken(head: Array, features: Array) -> Callable[[bool], tuple[str, ...]]:
    """What speaks against the answer (True) or for it (False), the weightiest first."""

    def said(doubts: bool) -> tuple[str, ...]:  # noqa: FBT001 - says which
        moved: list[float] = (head * features).tolist()
        found: dict[str, None] = {}
        order: list[int] = np.argsort(-np.abs(head * features)).tolist()
        for place in order:
            weight = moved[place]
            if abs(weight) < LEAST or len(found) == REASONS_MAX:
                break
            if (weight < 0) is doubts and (words := _SAID.get(NAMES[place])) is not None:
                found[words[0] if features[place] > 0 else words[1]] = None
        return tuple(found)

    return said
