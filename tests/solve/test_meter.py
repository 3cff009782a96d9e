"""A solve's own count of its money: any sequence of draws, undone or charged, keeps its bounds."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.refusals import BudgetExceeded, LimitReached
from app.money import NanoUSD
from app.solve.meter import Draw, Meter

ZERO = NanoUSD(0)


@dataclass(frozen=True)
class Step:
    """A draw, or, with an open one, its end: undone, or charged a share of what it held."""

    ends: bool
    pick: int
    max_cost: NanoUSD
    tokens_max: int
    ahead: NanoUSD
    share: float | None


amounts = st.integers(0, 1_000).map(NanoUSD)
steps = st.lists(
    st.builds(
        Step,
        ends=st.booleans(),
        pick=st.integers(0, 10),
        max_cost=amounts,
        tokens_max=st.integers(0, 100),
        ahead=amounts,
        share=st.none() | st.floats(0, 1),
    ),
    max_size=40,
)


def _state(meter: Meter) -> tuple[int, ...]:
    return (
        meter.hold,
        meter.spent,
        meter.inflight,
        meter.tokens,
        meter.tokens_inflight,
        meter.calls,
    )


@given(
    cap=st.integers(1, 3_000).map(NanoUSD),
    share_held=st.floats(0, 1),
    tokens_max=st.none() | st.integers(1, 500),
    calls_max=st.none() | st.integers(1, 10),
    played=steps,
)
def test_no_sequence_of_calls_exceeds_a_bound(
    cap: NanoUSD,
    share_held: float,
    tokens_max: int | None,
    calls_max: int | None,
    played: list[Step],
) -> None:
    """Spent and in flight fit the hold, the hold fits the cap, and tokens and calls their own."""
    meter = Meter(
        cap=cap, hold=NanoUSD(int(cap * share_held)), tokens_max=tokens_max, calls_max=calls_max
    )
    drawn: list[Draw] = []
    for step in played:
        before = _state(meter)
        if step.ends and drawn:
            _end(meter, drawn.pop(step.pick % len(drawn)), step)
        else:
            try:
                draw = meter.draw(step.max_cost, tokens_max=step.tokens_max, ahead=step.ahead)
            except (BudgetExceeded, LimitReached):
                assert _state(meter) == before, "a refusal changes nothing"
            else:
                assert 0 <= draw.grow == meter.hold - before[0]
                drawn.append(draw)
        assert meter.spent + meter.inflight <= meter.hold <= meter.cap == cap
        assert meter.left >= 0
        assert tokens_max is None or meter.tokens + meter.tokens_inflight <= tokens_max
        assert calls_max is None or meter.calls <= calls_max
        assert meter.inflight == sum(draw.max_cost for draw in drawn)
        assert meter.is_idle or drawn


def _end(meter: Meter, draw: Draw, step: Step) -> None:
    if step.share is None and draw.grow == 0:
        meter.undo(draw)
        return
    share = step.share or 0.0
    tokens = int(draw.tokens_max * share)
    meter.charge(draw, NanoUSD(int(draw.max_cost * share)), tokens=tokens)


@given(hold=amounts, max_cost=amounts, tokens=st.integers(0, 100), ahead=amounts)
def test_undoing_a_draw_leaves_no_trace(
    hold: NanoUSD, max_cost: NanoUSD, tokens: int, ahead: NanoUSD
) -> None:
    """The ledger refused it: as if it had never been asked for."""
    meter = Meter(cap=NanoUSD(2_000), hold=hold)
    before = _state(meter)
    meter.undo(meter.draw(max_cost, tokens_max=tokens, ahead=ahead))
    assert _state(meter) == before
    assert meter.is_idle


@given(cap=st.integers(1, 3_000), hold=amounts, max_cost=amounts, ahead=amounts)
def test_hold_grows_by_what_is_short_or_a_round_and_never_past_the_cap(
    cap: int, hold: NanoUSD, max_cost: NanoUSD, ahead: NanoUSD
) -> None:
    """Nothing while there is room; else at least what the call lacks."""
    meter = Meter(cap=NanoUSD(max(cap, hold)), hold=hold)
    if max_cost > meter.cap:
        with pytest.raises(BudgetExceeded):
            meter.draw(max_cost, tokens_max=0, ahead=ahead)
        return
    draw = meter.draw(max_cost, tokens_max=0, ahead=ahead)
    if max_cost <= hold:
        assert draw.grow == 0
    else:
        assert max_cost - hold <= draw.grow <= meter.cap - hold
        assert draw.grow == min(max(max_cost, ahead), meter.cap) - hold


def test_unused_part_of_a_worst_case_is_free_again() -> None:
    """Eight cheap calls fit where two worst cases do."""
    meter = Meter(cap=NanoUSD(200), hold=NanoUSD(100))
    for _ in range(8):
        draw = meter.draw(NanoUSD(100), tokens_max=10, ahead=ZERO)
        meter.charge(draw, NanoUSD(10), tokens=1)
    assert (meter.spent, meter.tokens, meter.calls) == (80, 8, 8)


def test_refusals_name_the_bound() -> None:
    """Money, calls and tokens are different reasons."""
    meter = Meter(cap=NanoUSD(10), hold=NanoUSD(10), calls_max=1, tokens_max=5)
    with pytest.raises(BudgetExceeded) as refused:
        meter.draw(NanoUSD(11), tokens_max=1, ahead=ZERO)
    assert (refused.value.scope, refused.value.available) == ("request", 10)
    with pytest.raises(LimitReached, match="max_total_tokens"):
        meter.draw(NanoUSD(1), tokens_max=6, ahead=ZERO)
    meter.charge(meter.draw(NanoUSD(1), tokens_max=5, ahead=ZERO), NanoUSD(1), tokens=0)
    with pytest.raises(LimitReached, match="max_calls"):
        meter.draw(NanoUSD(1), tokens_max=1, ahead=ZERO)
