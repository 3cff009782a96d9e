"""What a solve may do: its seats, its cap and its first hold, as rules that hold of any request."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.evaluators.specs import PanelSpec
from app.gate.gate import SecondOpinion
from app.ledger.price import Price
from app.ledger.refusals import BudgetExceeded
from app.money import NanoUSD, from_usd
from app.solve.engine import search_settings
from app.solve.past import plan_from
from app.solve.plan import OUTPUT_TOKENS_MIN, ExpertNotAllowed, Plan, make, may_buy_opinion
from app.solve.prompts import fresh
from app.solve.request import (
    GateOptions,
    Limits,
    Mode,
    SearchOptions,
    SolveRequest,
    Turn,
    to_document,
)
from app.tenants.policy import Expert, Policy

POLICY = Policy(
    name="default",
    default_expert="cheap",
    second_opinion_expert="second",
    strong_expert="strong",
    search_experts=("cheap", "strong"),
    value=from_usd("0.05"),
    auto_cap=from_usd("0.10"),
    search_cap=from_usd("0.50"),
    deadline_s=60,
    concurrency=4,
)
EXACT = PanelSpec.model_validate({"evaluators": [{"type": "exact", "config": {"expected": "391"}}]})
FORM = PanelSpec.model_validate({"evaluators": [{"type": "json_schema", "config": {"schema": {}}}]})
REQUEST = SolveRequest(turns=(Turn("user", "What is 17 * 23?"),), seed=0)
SEARCHED = replace(REQUEST, mode=Mode.SEARCH, panel=EXACT)

rates = st.integers(0, 10**11).map(NanoUSD)
"""Nano-dollars a million tokens: from nothing to $100."""

prices = st.builds(Price, provider=st.just("p"), model=st.just("m"), input=rates, output=rates)
experts = st.builds(
    Expert,
    name=st.just("cheap"),
    provider=st.just("p"),
    model=st.just("m"),
    max_output_tokens=st.integers(1, 100_000),
    instructions=st.none() | st.text(max_size=20),
    template_tokens=st.integers(0, 1_000),
)
seated = st.tuples(experts, prices)
requests = st.builds(
    SolveRequest,
    turns=st.lists(
        st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=40)),
        min_size=1,
        max_size=4,
    ).map(tuple),
    seed=st.just(0),
    instructions=st.none() | st.text(max_size=20),
    mode=st.sampled_from(Mode),
    panel=st.sampled_from([None, EXACT, FORM]),
    search=st.builds(SearchOptions, concurrency=st.none() | st.integers(1, 32)),
    limits=st.builds(Limits, max_cost=st.none() | st.integers(1, 10**10).map(NanoUSD)),
    max_output_tokens=st.none() | st.integers(1, 10_000),
)
benches = st.fixed_dictionaries({"cheap": seated, "second": seated, "strong": seated}).map(
    lambda seats: {
        name: (replace(expert, name=name), price) for name, (expert, price) in seats.items()
    }
)
Bench = dict[str, tuple[Expert, Price]]


def _left(available: NanoUSD) -> BudgetExceeded:
    """A tenant's budget that has so much left until its next period."""
    return BudgetExceeded("tenant", from_usd("1"), available, resets_at_s=1_800_000_000)


def _plan(request: SolveRequest, bench: Bench, available: NanoUSD | None = None) -> Plan:
    assume(request.mode is not Mode.SEARCH or request.panel is not None)
    try:
        left = None if available is None else _left(available)
        return make(request, POLICY, bench, left=left)
    except BudgetExceeded:
        assume(False)  # noqa: FBT003 - hypothesis's own way to say so
        raise


@given(request=requests, bench=benches, available=st.none() | st.integers(1, 10**9).map(NanoUSD))
def test_every_seat_fits_the_cap_on_its_own(
    request: SolveRequest, bench: Bench, available: NanoUSD | None
) -> None:
    """No call is planned that the cap could not pay for; none is cut below what is usable."""
    plan = _plan(request, bench, available)
    seats = [plan.first, plan.second, *plan.searchers, *([plan.strong] if plan.strong else [])]
    for seat in seats:
        assert seat.worst_case(fresh(request, seat.expert)) <= plan.cap
        wanted = min(request.max_output_tokens or 4096, seat.expert.max_output_tokens)
        assert min(wanted, OUTPUT_TOKENS_MIN) <= seat.max_output_tokens <= wanted


@given(request=requests, bench=benches, available=st.integers(1, 10**9).map(NanoUSD))
def test_cap_is_the_least_bound_and_says_which(
    request: SolveRequest, bench: Bench, available: NanoUSD
) -> None:
    """The request's own where a budget has as much left."""
    asked = _plan(request, bench).cap
    plan = _plan(request, bench, available)
    assert plan.cap == min(asked, available)
    assert plan.capped_by == ("tenant" if available < asked else "request")
    assert (plan.resets_at_s is None) is (plan.capped_by == "request")


@given(request=requests, bench=benches)
def test_first_hold_pays_for_the_first_call_and_stays_within_the_cap(
    request: SolveRequest, bench: Bench
) -> None:
    """Small, and never nothing where the first call costs something."""
    plan = _plan(request, bench)
    assert 0 <= plan.first_hold <= plan.cap
    if request.mode is not Mode.SEARCH:
        assert plan.first_hold >= plan.first.worst_case(fresh(request, plan.first.expert))


@given(request=requests, bench=benches, cap=st.integers(1, 10**7).map(NanoUSD))
def test_refusal_says_what_would_be_enough(
    request: SolveRequest, bench: Bench, cap: NanoUSD
) -> None:
    """A cap of what is needed fits; one nano-dollar less does not."""
    assume(request.mode is not Mode.SEARCH)
    try:
        make(_capped(request, cap), POLICY, bench)
    except BudgetExceeded as caught:
        refusal = caught
    else:
        return
    assert refusal.available == cap < refusal.asked
    assert make(_capped(request, refusal.asked), POLICY, bench).cap == refusal.asked
    with pytest.raises(BudgetExceeded):
        make(_capped(request, NanoUSD(refusal.asked - 1)), POLICY, bench)


def _capped(request: SolveRequest, cap: NanoUSD) -> SolveRequest:
    return replace(request, limits=Limits(max_cost=cap))


@given(request=requests, bench=benches, more=st.integers(1, 10**9))
def test_more_money_never_narrows_an_answer(request: SolveRequest, bench: Bench, more: int) -> None:
    """A larger cap gives every seat at least as many tokens, and keeps every searcher."""
    plan = _plan(request, bench)
    richer = replace(request, limits=Limits(max_cost=NanoUSD(plan.cap + more)))
    wider = _plan(richer, bench)
    assert wider.first.max_output_tokens >= plan.first.max_output_tokens
    assert {seat.expert.name for seat in wider.searchers} >= {
        seat.expert.name for seat in plan.searchers
    }


def even_bench() -> Bench:
    """Three experts at one price."""
    price = Price("p", "m", input=from_usd("1"), output=from_usd("10"))
    return {
        name: (Expert(name, "p", name, max_output_tokens=1_000), price)
        for name in ("cheap", "second", "strong")
    }


def test_defaults_are_the_policys() -> None:
    """A request that says nothing gets what its policy says."""
    plan = make(REQUEST, POLICY, even_bench())
    assert plan.first.expert.name == "cheap"
    assert plan.second.expert.name == "second"
    assert plan.strong is not None
    assert plan.strong.expert.name == "strong"
    assert [seat.expert.name for seat in plan.searchers] == ["cheap", "strong"]
    assert (plan.cap, plan.value) == (POLICY.auto_cap, POLICY.value)
    assert (plan.width, plan.deadline_s) == (POLICY.concurrency, POLICY.deadline_s)


def test_search_is_told_how_its_scores_come() -> None:
    """By the evaluators; and again the same by the plan that was stored, whatever they say then."""
    two = PanelSpec(evaluators=(EXACT.evaluators[0], FORM.evaluators[0]))
    for panel, step in ((EXACT, 1.0), (two, 0.5)):
        request = replace(SEARCHED, panel=panel)
        plan = make(request, POLICY, even_bench())
        stored = plan_from(to_document(plan))
        assert search_settings(request, stored) == search_settings(request, plan)
        assert search_settings(request, stored).score_step == step
        assert search_settings(request, stored).score_noise == 0.0


SINCE = {"score_step", "score_noise", "pass_value"}
"""Fields that plans did not always have."""


def test_plan_from_before_steps_were_stored_goes_on_as_it_began() -> None:
    """With the step that every search had."""
    document = to_document(make(SEARCHED, POLICY, even_bench()))
    before = {name: part for name, part in document.items() if name not in SINCE}
    assert len(before) == len(document) - len(SINCE)
    settings = search_settings(SEARCHED, plan_from(before))
    assert (settings.score_step, settings.score_noise, settings.pass_value) == (1e-3, 0.0, None)


def test_explicit_search_has_the_larger_cap() -> None:
    """Who asks for a search knows that it costs more."""
    assert make(SEARCHED, POLICY, even_bench()).cap == POLICY.search_cap


def test_request_narrows_its_policy_and_never_widens_it() -> None:
    """A deadline longer than the policy's is cut, a shorter one is kept."""
    for asked_ms, given_s in ((1_000, 1.0), (600_000, POLICY.deadline_s)):
        request = replace(REQUEST, limits=Limits(deadline_ms=asked_ms))
        assert make(request, POLICY, even_bench()).deadline_s == given_s


def test_callers_experts_are_the_only_ones() -> None:
    """Also for the roles: a role whose expert is not on the list is nobody's."""
    plan = make(replace(REQUEST, experts=("strong",)), POLICY, even_bench())
    assert plan.first.expert.name == "strong"
    assert [seat.expert.name for seat in plan.searchers] == ["strong"]
    plan = make(replace(REQUEST, experts=("cheap",)), POLICY, even_bench())
    assert plan.second.expert.name == "cheap"
    assert plan.strong is None


def test_expert_outside_the_policy_is_refused_by_name() -> None:
    """With those that are allowed."""
    with pytest.raises(ExpertNotAllowed, match=r"'other'.*cheap, second, strong"):
        make(replace(REQUEST, experts=("cheap", "other")), POLICY, even_bench())


def test_search_without_an_evaluator_is_refused() -> None:
    """It would have nothing to climb by."""
    with pytest.raises(InvalidRequest, match="evaluator"):
        make(replace(REQUEST, mode=Mode.SEARCH), POLICY, even_bench())


def test_search_loses_the_experts_that_do_not_fit() -> None:
    """The strong expert is a hundred times as dear; the cap is for the cheap one."""
    bench = even_bench()
    expert, _ = bench["strong"]
    bench["strong"] = (expert, Price("p", "m", input=from_usd("100"), output=from_usd("1000")))
    request = replace(SEARCHED, limits=Limits(max_cost=from_usd("0.02")))
    plan = make(request, POLICY, bench)
    assert [seat.expert.name for seat in plan.searchers] == ["cheap"]
    assert plan.strong is None


@pytest.mark.parametrize(
    ("wanted", "panel", "buys"),
    [
        (SecondOpinion.AUTO, None, True),
        (SecondOpinion.ALWAYS, None, True),
        (SecondOpinion.NEVER, None, False),
        (SecondOpinion.AUTO, EXACT, False),
        (SecondOpinion.ALWAYS, EXACT, False),
        (SecondOpinion.AUTO, FORM, True),
    ],
)
def test_opinion_is_held_for_only_where_one_could_be_bought(
    wanted: SecondOpinion,
    panel: PanelSpec | None,
    buys: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Never where a score decides."""
    request = replace(REQUEST, gate=GateOptions(second_opinion=wanted), panel=panel)
    assert may_buy_opinion(request) is buys
    plan = make(request, POLICY, even_bench())
    one = plan.first.worst_case(fresh(request, plan.first.expert))
    assert plan.first_hold == (2 * one if buys else one)


@pytest.mark.parametrize(
    ("background", "asked_ms", "deadline_s"),
    [(False, None, 60), (False, 90_000, 60), (True, None, 600), (True, 90_000, 90)],
)
def test_background_solve_has_ten_minutes(
    *, background: bool, asked_ms: int | None, deadline_s: float
) -> None:
    """No connection is kept waiting for it, so the policy's bound on waiting is not its own."""
    request = replace(REQUEST, background=background, limits=Limits(deadline_ms=asked_ms))
    price = Price("p", "m", NanoUSD(1), NanoUSD(1))
    bench = {
        name: (Expert(name, "p", "m", max_output_tokens=10), price) for name in POLICY.allowed()
    }
    assert make(request, POLICY, bench).deadline_s == deadline_s
