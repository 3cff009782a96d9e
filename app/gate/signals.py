"""What is known after the first answer, as one vector; each group of features has a missing bit.

A feature is what `NAMES` says, in its order. Counts enter as log(1 + count), shares as they are. A
group that was not observed is all zeros and its bit is 1, so an absent logprob is never mistaken
for a certain one. What is not a finite number counts as not observed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, log1p
from typing import Final, TypeVar

import numpy as np

from app.gate.logistic import Array
from app.gate.text import TextCounts

T = TypeVar("T")

GROUP: Final = 16
"""Neighbouring tokens whose mean logprob is compared; the least certain stretch."""
TAIL: Final = 32
"""Last tokens, where the answer usually stands."""
LOGPROB_MIN: Final = -100.0
VALUE_MAX: Final = 1e6

_FORMAT: Final = ("unparsed", "tagged", "truncated", "log_answer_chars", "numeric")
_TEXT: Final = (
    "log_tokens",
    "log_tokens_squared",
    "log_lines",
    "log_hedges",
    "log_backtracks",
    "log_digits",
    "zlib_ratio",
    "log_chars",
    "digits_a_char",
    "hedges_a_token",
    "backtracks_a_token",
)
_LOGPROBS: Final = ("q0", "q10", "q25", "q50", "mean", "lowest_group", "tail", "margin")
_PROMPT: Final = ("log_prompt_tokens", "log_tokens_by_prompt")
NAMES: Final = (
    "bias",
    *("format_missing", *_FORMAT),
    *("text_missing", *_TEXT),
    *("logprobs_missing", *_LOGPROBS),
    *("prompt_missing", *_PROMPT),
)


@dataclass(frozen=True, slots=True)
class Form:
    """How the reply is built: did an answer parse, stand in a tag; was the reply cut off."""

    answer: str | None
    tagged: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Of a reply's tokens, natural logarithms. `margin` is top by second over the answer's span."""

    quantiles: tuple[float, float, float, float]
    mean: float
    lowest_group: float
    tail: float
    margin: float


@dataclass(frozen=True, slots=True)
class Signals:
    """What was observed of a first answer; None is not observed.

    `groups` are the categories it belongs to, from wide to narrow, a tenant's own ones last.
    """

    form: Form | None
    text: TextCounts | None
    logprobs: Logprobs | None
    prompt_tokens: int | None
    groups: tuple[str, ...] = ()


def summarise(logprobs: Sequence[float], *, margin: float = 0.0) -> Logprobs | None:
    """Quantiles 0, 10, 25 and 50 %, mean, least certain stretch and tail; None for no number."""
    values: Array = np.asarray(logprobs, dtype=np.float64)
    values = np.clip(values[~np.isnan(values)], LOGPROB_MIN, 0.0)
    if not values.size:
        return None
    q0, q10, q25, q50 = (float(q) for q in np.quantile(values, (0.0, 0.1, 0.25, 0.5)))
    size = min(GROUP, values.size)
    sums = np.concatenate((np.zeros(1), values.cumsum()))
    return Logprobs(
        quantiles=(q0, q10, q25, q50),
        mean=float(values.mean()),
        lowest_group=float((sums[size:] - sums[:-size]).min()) / size,
        tail=float(values[-TAIL:].mean()),
        margin=margin,
    )


def vector(signals: Signals) -> Array:
    """The features of `signals`, finite whatever was observed."""
    text, prompt = signals.text, signals.prompt_tokens
    row = [1.0]
    row += _group(signals.form, _form, len(_FORMAT))
    row += _group(text, _text, len(_TEXT))
    row += _group(signals.logprobs, _logprobs, len(_LOGPROBS))
    by_prompt = 0.0 if text is None else _log(text.tokens)
    row += _group(prompt, lambda n: (_log(n), by_prompt - _log(n)), len(_PROMPT))
    return np.array(row)


def _group(observed: T | None, features: Callable[[T], Sequence[float]], size: int) -> list[float]:
    if observed is not None:
        values = features(observed)
        if all(map(isfinite, values)):
            return [0.0, *(max(-VALUE_MAX, min(VALUE_MAX, value)) for value in values)]
    return [1.0, *([0.0] * size)]


def _form(form: Form) -> tuple[float, ...]:
    answer = form.answer or ""
    numeric = bool(answer) and not answer.strip("-+0123456789.,%$ ")
    unparsed = float(form.answer is None)
    return (unparsed, float(form.tagged), float(form.truncated), _log(len(answer)), float(numeric))


def _text(text: TextCounts) -> tuple[float, ...]:
    length = _log(text.tokens)
    chars, tokens = max(text.chars, 1), max(text.tokens, 1)
    return (
        length,
        length * length / 10,
        _log(text.lines),
        _log(text.hedges),
        _log(text.backtracks),
        _log(text.digits),
        text.zlib_ratio,
        _log(text.chars),
        text.digits / chars,
        100 * text.hedges / tokens,
        100 * text.backtracks / tokens,
    )


def _logprobs(seen: Logprobs) -> tuple[float, ...]:
    return (*seen.quantiles, seen.mean, seen.lowest_group, seen.tail, seen.margin)


def _log(count: float) -> float:
    # NaN compares as neither, and stays NaN: its group is then missing.
    return log1p(count) if count >= 0 else (0.0 if count < 0 else count)
