"""What a solve may cost, said beforehand: rules that hold of any request, and of its admission."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.gate import Route, SecondOpinion
from app.ledger.levels import BudgetStatus
from app.ledger.periods import FOREVER, Period
from app.ledger.refusals import BudgetExceeded
from app.money import NanoUSD, from_usd
from app.solve.estimate import Estimate, estimate
from app.solve.plan import make, may_buy_opinion
from app.solve.request import GateOptions, Limits, Mode, SearchOptions, SolveRequest
from tests.solve.test_plan import (
    EXACT,
    FORM,
    POLICY,
    REQUEST,
    SEARCHED,
    Bench,
    benches,
    even_bench,
    requests,
)

amounts = st.integers(0, 10**10).map(NanoUSD)


def level(available: NanoUSD, scope: str = "tenant") -> BudgetStatus:
    """A budget that has so much left."""
    nothing = NanoUSD(0)
    return BudgetStatus(scope, "x", Period.TOTAL, "UTC", FOREVER[1], available, nothing, nothing)


def estimated(request: SolveRequest, bench: Bench, *available: NanoUSD) -> Estimate:
    """The estimate where the budgets have so much left."""
    return estimate(request, POLICY, bench, [level(amount) for amount in available])


searchable = requests.filter(lambda one: one.mode is not Mode.SEARCH or one.panel is not None)


@given(request=searchable, bench=benches, available=st.lists(amounts, min_size=1, max_size=3))
def test_no_route_costs_more_than_the_cap_or_is_expected_to_cost_more_than_its_worst(
    request: SolveRequest, bench: Bench, available: list[NanoUSD]
) -> None:
    """And what is held at first is within the cap, too."""
    found = estimated(request, bench, *available)
    assert 0 <= (found.first_hold or 0) <= found.cap
    for route in found.routes.values():
        assert 0 <= route.expected <= route.worst <= found.cap
    for seat in found.seats:
        assert 0 <= seat.expected <= seat.worst <= found.cap


@given(request=searchable, bench=benches, available=st.lists(amounts, min_size=1, max_size=3))
def test_what_is_admitted_fits_every_budget(
    request: SolveRequest, bench: Bench, available: list[NanoUSD]
) -> None:
    """A refusal is of an amount that does not fit."""
    found = estimated(request, bench, *available)
    if found.refusal is None:
        assert found.first_hold is not None
        assert found.first_hold <= min(available)
    else:
        assert isinstance(found.refusal, BudgetExceeded)
        assert found.refusal.available < found.refusal.asked


@given(request=searchable, bench=benches)
def test_with_plenty_the_estimate_is_of_the_plan_itself(
    request: SolveRequest, bench: Bench
) -> None:
    """Its cap, its first hold, its seats."""
    found = estimated(request, bench, from_usd("1000"))
    if not found.routes:
        with pytest.raises(BudgetExceeded) as refused:
            make(request, POLICY, bench)
        assert isinstance(found.refusal, BudgetExceeded)
        assert found.refusal.asked == refused.value.asked
        return
    plan = make(request, POLICY, bench)
    assert (found.refusal, found.cap, found.first_hold) == (None, plan.cap, plan.first_hold)
    planned = (plan.first, plan.second, plan.strong, *plan.searchers)
    assert all(seat.seat in planned for seat in found.seats)


def test_routes_are_those_that_the_gate_can_take() -> None:
    """A search needs something to climb by; without it the strong expert is what is left."""
    bench, plenty = even_bench(), from_usd("100")
    cases = [
        (REQUEST, {Route.SINGLE, Route.STRONG}),
        (replace(REQUEST, panel=EXACT), {Route.SINGLE, Route.SEARCH}),
        (replace(REQUEST, panel=FORM), {Route.SINGLE, Route.SEARCH}),
        (replace(REQUEST, mode=Mode.SINGLE), {Route.SINGLE}),
        (replace(REQUEST, mode=Mode.SINGLE, panel=EXACT), {Route.SINGLE}),
        (SEARCHED, {Route.SEARCH}),
    ]
    for request, routes in cases:
        assert set(estimated(request, bench, plenty).routes) == routes


def test_a_second_opinion_is_expected_where_the_gate_would_buy_one() -> None:
    """In the worst case it is bought wherever it may be."""
    bench, plenty = even_bench(), from_usd("100")
    for wanted, bought in ((SecondOpinion.ALWAYS, 2), (SecondOpinion.NEVER, 1)):
        request = replace(REQUEST, gate=GateOptions(second_opinion=wanted))
        found = estimated(request, bench, plenty)
        (first, *_) = found.seats
        assert found.routes[Route.SINGLE].expected == bought * first.expected
        assert found.routes[Route.SINGLE].worst == bought * first.worst
    careless = replace(REQUEST, gate=GateOptions(value=NanoUSD(0)))
    found = estimated(careless, bench, plenty)
    (first, *_) = found.seats
    assert may_buy_opinion(careless)
    assert found.routes[Route.SINGLE].expected == first.expected
    assert found.routes[Route.SINGLE].worst == 2 * first.worst


def test_a_search_is_expected_to_make_all_its_calls() -> None:
    """As many as its nodes or its limit on calls allow; at worst it uses up its cap."""
    bench, plenty = even_bench(), from_usd("100")
    few = replace(SEARCHED, search=SearchOptions(max_nodes=3))
    limited = replace(SEARCHED, limits=Limits(max_calls=2))
    for request, calls in ((few, 3), (limited, 2)):
        found = estimated(request, bench, plenty)
        assert found.routes[Route.SEARCH].expected == calls * found.seats[0].expected
        assert found.routes[Route.SEARCH].worst == found.cap == POLICY.search_cap


def test_a_tight_budget_narrows_and_a_tighter_one_refuses() -> None:
    """The estimate says which, what it leaves of the answers, and what it would take."""
    bench = even_bench()
    wide = estimated(REQUEST, bench, from_usd("100"))
    assert wide.limited_by == "request"
    assert not any(seat.is_narrowed for seat in wide.seats)
    tight = estimated(REQUEST, bench, from_usd("100"), from_usd("0.004"))
    assert (tight.refusal, tight.limited_by, tight.cap) == (None, "tenant", from_usd("0.004"))
    assert all(seat.is_narrowed for seat in tight.seats)
    refused = estimated(REQUEST, bench, from_usd("100"), from_usd("0.0001"))
    assert isinstance(refused.refusal, BudgetExceeded)
    assert refused.refusal.available == from_usd("0.0001")
    assert refused.refusal.asked == refused.first_hold == wide.first_hold


def test_experts_that_the_cap_has_no_room_for_are_named() -> None:
    """The strong one, and those of a search."""
    bench = even_bench()
    expert, price = bench["strong"]
    bench["strong"] = expert, replace(price, output=from_usd("10000"))
    assert estimated(REQUEST, bench, from_usd("100")).left_out == ("strong",)
    assert Route.STRONG not in estimated(REQUEST, bench, from_usd("100")).routes
    assert estimated(SEARCHED, bench, from_usd("100")).left_out == ("strong",)
    assert estimated(replace(REQUEST, mode=Mode.SINGLE), bench, from_usd("100")).left_out == ()


def test_without_any_budget_nothing_is_admitted() -> None:
    """Not even what is free, as a solve would find."""
    free = {
        name: (expert, replace(price, input=NanoUSD(0), output=NanoUSD(0)))
        for name, (expert, price) in even_bench().items()
    }
    refused = estimated(REQUEST, free).refusal
    assert isinstance(refused, BudgetExceeded)
    assert (refused.scope, refused.asked, refused.available) == ("key", 0, 0)
    assert estimated(REQUEST, free, NanoUSD(0)).refusal is None
