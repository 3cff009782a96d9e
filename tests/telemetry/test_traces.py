"""Trace context: strictly parsed, continued where it is valid, begun where it is not."""

import pytest

from app.telemetry.traces import child_traceparent, continued, parse, within

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "junk",
        VALID.upper(),
        f" {VALID}",
        f"{VALID}\n",
        f"{VALID}-more",
        f"{VALID}-",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}\u0660-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
    ],
)
def test_what_the_standard_does_not_allow_begins_a_trace(header: str) -> None:
    """A trace that cannot be continued is not half continued."""
    assert parse(header) is None
    begun = continued([header])
    assert begun.trace_id != TRACE
    assert parse(begun.traceparent) == begun
    assert not begun.sampled


@pytest.mark.parametrize("header", [VALID, f"cc-{TRACE}-{SPAN}-01-what-comes-later"])
def test_a_valid_trace_is_continued_under_a_span_of_ours(header: str) -> None:
    """Versions to come keep the four fields that are known today."""
    ours = continued([header])
    assert ours.trace_id == TRACE
    assert ours.span_id != SPAN
    assert ours.traceparent == f"00-{TRACE}-{ours.span_id}-01"


def test_only_the_flag_that_is_known_is_passed_on() -> None:
    """The others are to be zero."""
    assert continued([f"00-{TRACE}-{SPAN}-ff"]).traceparent.endswith("-01")
    assert continued([f"00-{TRACE}-{SPAN}-fe"]).traceparent.endswith("-00")


def test_two_headers_are_none() -> None:
    """Nobody can say which of them is meant."""
    assert continued([VALID, VALID]).trace_id != TRACE
    assert continued([]).trace_id != TRACE


def test_every_upstream_call_is_a_span_of_its_own() -> None:
    """Of the same trace, and only while a request is served."""
    assert child_traceparent() is None
    ours = continued([VALID])
    with within(ours):
        first, second = parse(child_traceparent() or ""), parse(child_traceparent() or "")
    assert first is not None
    assert second is not None
    assert first.trace_id == second.trace_id == TRACE
    assert len({first.span_id, second.span_id, ours.span_id}) == 3
    assert child_traceparent() is None
