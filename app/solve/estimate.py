"""What a solve would hold and may cost, before any call. Pure: the budgets' state is handed in.

Admission is the planner's own, so that an estimate and the solve agree; what happens between the
two is not foreseen. Of the request's limits only `max_cost` and, in a search or a deliberation,
`max_calls` count.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from app.gate.gate import BuyOpinion, FirstAnswer, Route, Stakes, after_first
from app.ledger.levels import BudgetStatus, refusal
from app.ledger.price import Price
from app.ledger.refusals import BudgetExceeded, LadderReached
from app.money import NanoUSD
from app.solve import plan as planner
from app.solve.charging import BYTES_PER_TOKEN
from app.solve.plan import (
    CEILING_TO_USUAL,
    Plan,
    Seat,
    expected_cost,
    may_buy_opinion,
    reading_cost,
    wanted_tokens,
)
from app.solve.prompts import DRAFT_BYTES_MAX, fresh
from app.solve.request import Mode, SolveRequest
from app.tenants.policy import Expert, Policy

FIRST: Final = "first"
SECOND: Final = "second_opinion"
STRONG: Final = "strong"
SEARCH: Final = "search"
DRAFT: Final = "draft"

Foresee = Callable[[SolveRequest, Plan], bool | None]

WELL_FORMED: Final = FirstAnswer(arrived=True, well_formed=True, score=None)
"""What a first answer is, as a rule."""


@dataclass(frozen=True, slots=True)
class SeatEstimate:
    """A fresh call of one expert; `is_narrowed` where the cap shortens its answer.

    `readings` is for each pass the worst case of one call of it.
    """

    role: str
    seat: Seat
    expected: NanoUSD
    worst: NanoUSD
    is_narrowed: bool
    readings: Sequence[NanoUSD] = ()


@dataclass(frozen=True, slots=True)
class RouteEstimate:
    """The calls of one route together.

    `expected` takes answers of usual length, and a search or a deliberation that makes all its
    calls. `worst` is for providers that keep to the bounds they are given, and answer the first
    time; beyond it no tenant pays more than the cap.
    """

    expected: NanoUSD
    worst: NanoUSD


@dataclass(frozen=True, slots=True)
class Estimate:
    """What would become of the request now.

    `refusal` is why it would not be admitted; None where it would be. `first_hold` is None, and
    there is no route, where the cap has no room for one short answer. `left_out` are experts that
    the cap has no room for. `ladder` is why only a single call would be made.
    """

    cap: NanoUSD
    limited_by: str = "request"
    resets_at_s: int | None = None
    refusal: BudgetExceeded | LadderReached | None = None
    first_hold: NanoUSD | None = None
    routes: Mapping[Route, RouteEstimate] = field(default_factory=dict[Route, RouteEstimate])
    seats: Sequence[SeatEstimate] = ()
    left_out: Sequence[str] = ()
    ladder: LadderReached | None = None


def untrained(request: SolveRequest, plan: Plan) -> None:
    """Foresees nothing."""
    del request, plan


def estimate(
    request: SolveRequest,
    policy: Policy,
    bench: Mapping[str, tuple[Expert, Price]],
    levels: Sequence[BudgetStatus],
    *,
    foresee: Foresee = untrained,
) -> Estimate:
    """The estimate of a request under budgets that stand at `levels`.

    `foresee` says whether the learned gate would buy an opinion, None leaves it to the untrained.
    Raises ExpertNotAllowed or InvalidRequest, as the planner does.
    """
    ladder = next(filter(None, (level.ladder for level in levels)), None)
    if ladder is None or request.mode is Mode.SINGLE:
        return _estimate(request, policy, bench, levels, foresee)
    if request.mode is Mode.AUTO:
        single = _estimate(replace(request, mode=Mode.SINGLE), policy, bench, levels, foresee)
        return replace(single, ladder=ladder)
    made = _estimate(request, policy, bench, levels, foresee)
    is_beyond_its_own = made.refusal is not None and made.refusal.scope == "request"
    return replace(made, ladder=ladder, refusal=made.refusal if is_beyond_its_own else ladder)


def _estimate(
    request: SolveRequest,
    policy: Policy,
    bench: Mapping[str, tuple[Expert, Price]],
    levels: Sequence[BudgetStatus],
    foresee: Foresee,
) -> Estimate:
    try:
        plan = planner.make(request, policy, bench)
    except BudgetExceeded as refused:
        return Estimate(cap=refused.available, refusal=refused)
    left = _shortage(plan, levels)
    if left is None:
        return _planned(request, policy, plan, foresee)
    with suppress(BudgetExceeded):
        if levels:  # else nothing may be spent, and not even what is free is admitted
            return _planned(
                request, policy, planner.make(request, policy, bench, left=left), foresee
            )
    return _planned(request, policy, plan, foresee, left)


def _shortage(plan: Plan, levels: Sequence[BudgetStatus]) -> BudgetExceeded | None:
    if levels and all(plan.first_hold <= level.available for level in levels):
        return None
    return refusal(plan.first_hold, levels)


def _planned(
    request: SolveRequest,
    policy: Policy,
    plan: Plan,
    foresee: Foresee,
    refused: BudgetExceeded | None = None,
) -> Estimate:
    seats = [_seated(request, role, seat) for role, seat in _roles(request, plan)]
    seated = {one.seat.expert.name for one in seats}
    buys = foresee(request, plan)
    if buys is None:
        buys = _opinion_pays(request, plan, seats)
    return Estimate(
        cap=plan.cap,
        limited_by=plan.capped_by,
        resets_at_s=plan.resets_at_s,
        refusal=refused,
        first_hold=plan.first_hold,
        routes=_routes(request, plan, seats, buys=buys),
        seats=seats,
        left_out=tuple(name for name in _wanted(request, policy) if name not in seated),
    )


def _roles(request: SolveRequest, plan: Plan) -> Iterator[tuple[str, Seat]]:
    if request.mode is Mode.PARALLEL:
        yield from ((DRAFT, seat) for seat in plan.searchers)
        return
    if request.mode is not Mode.SEARCH:
        yield FIRST, plan.first
    if _may_compare(request):
        yield SECOND, plan.second
    if _may_ask_strong(request) and plan.strong is not None:
        yield STRONG, plan.strong
    if _may_search(request):
        yield from ((SEARCH, seat) for seat in plan.searchers)


def _wanted(request: SolveRequest, policy: Policy) -> Sequence[str]:
    second = [policy.second_opinion_expert] if _may_compare(request) else []
    strong = [policy.strong_expert] if _may_ask_strong(request) else []
    chosen = [name for name in second + strong if name in (request.experts or [name])]
    asks_many = request.mode is Mode.PARALLEL or _may_search(request)
    searchers = (request.experts or policy.search_experts) if asks_many else ()
    return tuple(dict.fromkeys([*chosen, *searchers]))


def _may_compare(request: SolveRequest) -> bool:
    return request.mode is Mode.AUTO and may_buy_opinion(request)


def _may_ask_strong(request: SolveRequest) -> bool:
    return request.mode is Mode.AUTO and request.panel is None


def _may_search(request: SolveRequest) -> bool:
    return request.mode is Mode.SEARCH or (request.mode is Mode.AUTO and request.panel is not None)


def _seated(request: SolveRequest, role: str, seat: Seat) -> SeatEstimate:
    return SeatEstimate(
        role,
        seat,
        expected=expected_cost(request, seat),
        worst=seat.worst_case(fresh(request, seat.expert)),
        is_narrowed=seat.max_output_tokens < wanted_tokens(request, seat.expert),
        readings=_readings(request, seat) if role == DRAFT else (),
    )


def _readings(request: SolveRequest, seat: Seat) -> Sequence[NanoUSD]:
    # The first pass reads the drafts, every other the pass before it as well.
    k, passes = request.parallel.k, request.parallel.passes
    return [
        reading_cost(request, seat, drafts=min(number, 2) * k) for number in range(1, passes + 1)
    ]


def _routes(
    request: SolveRequest, plan: Plan, seats: Sequence[SeatEstimate], *, buys: bool
) -> Mapping[Route, RouteEstimate]:
    gate = [seat for seat in seats if seat.role in (FIRST, SECOND)]
    bought = gate if buys else gate[:1]
    strong = [seat for seat in seats if seat.role == STRONG]
    searchers = [seat for seat in seats if seat.role == SEARCH]
    routes: dict[Route, RouteEstimate] = {}
    if gate:
        routes[Route.SINGLE] = _together(bought, gate, cap=plan.cap)
    if strong:
        routes[Route.STRONG] = _together(bought + strong, gate + strong, cap=plan.cap)
    if searchers:
        # What the gate has paid for becomes the first nodes; a refinement's bound is not known
        # before the answer that it refines.
        calls = max(0, _calls(request) - len(bought))
        expected = _sum(bought) + calls * _sum(searchers) // len(searchers)
        routes[Route.SEARCH] = RouteEstimate(NanoUSD(min(plan.cap, expected)), plan.cap)
    if request.mode is Mode.PARALLEL:
        routes[Route.PARALLEL] = _deliberation(request, plan, seats)
    return routes


def _deliberation(
    request: SolveRequest, plan: Plan, seats: Sequence[SeatEstimate]
) -> RouteEstimate:
    """Every call of it; what a call reads is expected to be as long as answers usually are."""
    k, limit = request.parallel.k, request.limits.max_calls
    calls = k * (1 + request.parallel.passes)
    expected = worst = 0
    for place in range(calls if limit is None else min(calls, limit)):
        one, number = seats[place % len(seats)], place // k
        expected += one.expected
        worst += one.readings[number - 1] if number else one.worst
        if number:
            read = min(number, 2) * k * _usual_tokens(one.seat)
            expected += one.seat.price.cost(read, 0)
    return RouteEstimate(NanoUSD(min(plan.cap, expected)), NanoUSD(min(plan.cap, worst)))


def _usual_tokens(seat: Seat) -> int:
    return min(-(-seat.max_output_tokens // CEILING_TO_USUAL), DRAFT_BYTES_MAX // BYTES_PER_TOKEN)


def _together(
    usual: Sequence[SeatEstimate], most: Sequence[SeatEstimate], *, cap: NanoUSD
) -> RouteEstimate:
    worst = sum(seat.worst for seat in most)
    return RouteEstimate(NanoUSD(min(cap, _sum(usual))), NanoUSD(min(cap, worst)))


def _sum(seats: Sequence[SeatEstimate]) -> int:
    return sum(seat.expected for seat in seats)


def _calls(request: SolveRequest) -> int:
    nodes, limit = request.search.max_nodes, request.limits.max_calls
    return nodes if limit is None else min(nodes, limit)


def _opinion_pays(request: SolveRequest, plan: Plan, seats: Sequence[SeatEstimate]) -> bool:
    costs = {seat.role: seat.expected for seat in seats}
    stakes = Stakes(
        value=plan.value,
        opinion_cost=costs.get(SECOND, NanoUSD(0)),
        strong_cost=costs.get(STRONG, NanoUSD(0)),
        second_opinion=request.gate.second_opinion,
        has_evaluator=request.panel is not None,
        decisive=request.panel is not None and request.panel.is_decisive,
        target_score=request.search.target_score,
    )
    return isinstance(after_first(WELL_FORMED, stakes), BuyOpinion)
