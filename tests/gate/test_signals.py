"""Features of any reply are finite, bounded in cost, and do not believe what the reply claims."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.signals import NAMES, Form, Signals, summarise, vector
from app.gate.text import TAIL_BYTES, count_text

BLANK = Signals(form=None, text=None, logprobs=None, prompt_tokens=None)


def named(signals: Signals) -> dict[str, float]:
    """The vector by the names of its features."""
    return dict(zip(NAMES, (float(value) for value in vector(signals)), strict=True))


@given(
    st.text(st.characters()),
    st.lists(st.floats()),
    st.none() | st.integers(-(10**30), 10**30),
    st.none() | st.text(),
)
def test_any_reply_has_finite_features(
    text: str, logprobs: list[float], prompt: int | None, answer: str | None
) -> None:
    """Junk, NaN, infinities and lone surrogates included."""
    form = Form(answer, tagged=False, truncated=True)
    features = vector(Signals(form, count_text(text), summarise(logprobs), prompt))
    assert features.shape == (len(NAMES),)
    assert np.isfinite(features).all()


def test_what_is_missing_is_told_from_zero() -> None:
    """A bit a group; nothing else is set but the constant."""
    assert {name for name, value in named(BLANK).items() if value} == {
        "bias",
        "format_missing",
        "text_missing",
        "logprobs_missing",
        "prompt_missing",
    }
    assert named(replace(BLANK, text=count_text("")))["text_missing"] == 0
    assert named(replace(BLANK, prompt_tokens=0))["prompt_missing"] == 0


@pytest.mark.parametrize("broken", [nan, inf, -inf])
def test_count_that_is_no_number_is_missing(broken: float) -> None:
    """It must not reach a weight."""
    text = replace(count_text("7 lines"), zlib_ratio=broken)
    assert named(replace(BLANK, text=text)) == named(BLANK)


def test_counts_are_of_the_last_8_kb() -> None:
    """Whatever came before, however long."""
    end = "Wait, perhaps 42.\n" * 10
    padding = "x" * TAIL_BYTES
    assert count_text(end).hedges == count_text(end).backtracks == 10
    assert count_text(end).digits == 20
    assert count_text(end).lines == 11
    assert count_text(end + padding).hedges == 0
    whole = count_text("maybe " * 200_000)
    assert whole.chars == 1_200_000
    assert whole.hedges <= TAIL_BYTES / len("maybe")
    assert whole.zlib_ratio < 0.05


def test_words_count_whole_and_in_any_case() -> None:
    """A waiter is no backtrack."""
    assert count_text("MAYBE; maybe-not, mayor, waiter, await").hedges == 2
    assert count_text("MAYBE; maybe-not, mayor, waiter, await").backtracks == 0


def test_claimed_confidence_counts_as_text() -> None:
    """It moves what its length and digits move, and nothing that means certainty."""
    plain, boasting = "The answer is 7.", "The answer is 7. Confidence: 100 %"
    before, after = (named(replace(BLANK, text=count_text(text))) for text in (plain, boasting))
    moved = {name for name in NAMES if before[name] != after[name]}
    lengths = {"log_tokens", "log_tokens_squared", "log_chars", "zlib_ratio"}
    assert moved <= lengths | {"log_digits", "digits_a_char", "hedges_a_token"}


def test_logprobs_are_summarised_by_their_worst_stretches() -> None:
    """The least certain sixteen tokens are found wherever they stand."""
    sure, unsure = [-0.1] * 100, [-2.0] * 16
    found = summarise([*sure, *unsure, *sure])
    assert found is not None
    assert found.quantiles[0] == -2.0
    assert found.quantiles[3] == found.tail == pytest.approx(-0.1)
    assert found.lowest_group == pytest.approx(-2.0)


def test_no_logprob_is_no_summary() -> None:
    """Also where all are NaN; minus infinity is bounded."""
    assert summarise([]) is None
    assert summarise([nan]) is None
    found = summarise([-inf, nan])
    assert found is not None
    assert found.mean == -100.0
