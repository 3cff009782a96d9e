"""What a solve may do, and what it holds at first. Pure: no call, no clock, no database.

A cap below the worst case narrows the answers before it refuses: `max_output_tokens` shrinks,
though never below what a usable answer needs; a search or a deliberation loses the experts that no
longer fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.errors import GatewayError, InvalidRequest
from app.evaluators.scale import Scale
from app.gate.gate import SecondOpinion
from app.gate.learned import Opening, Standing
from app.ledger.price import Price
from app.ledger.refusals import BudgetExceeded
from app.money import NanoUSD
from app.providers.completion import Message
from app.solve.prompts import fresh, input_tokens_max, longest_reading
from app.solve.request import OUTPUT_TOKENS_DEFAULT, Mode, SolveRequest
from app.tenants.policy import CONFIDENCE_MIN, Expert, Policy

OUTPUT_TOKENS_MIN: Final = 256
"""A cap never shrinks an answer below this (or below the expert's own ceiling, where lower)."""


BACKGROUND_DEADLINE_S: Final = 600.0
"""Of a solve in the background, where no connection is kept waiting for it."""

DEEP: Final = (Mode.SEARCH, Mode.PARALLEL)
"""Modes that ask the policy's search experts, many times, without the gate."""

CEILING_TO_USUAL: Final = 4
"""How many times its usual length an answer may be."""


@dataclass(frozen=True, slots=True)
class Seat:
    """An expert at its price, and how much it may write in this solve."""

    expert: Expert
    price: Price
    max_output_tokens: int

    def worst_case(self, messages: Sequence[Message]) -> NanoUSD:
        """The most that a call with these messages can cost."""
        return self.price.worst_case(self.input_tokens_max(messages), self.max_output_tokens)

    def tokens_max(self, messages: Sequence[Message]) -> int:
        """The most tokens that a call with these messages can use."""
        return self.input_tokens_max(messages) + self.max_output_tokens

    def input_tokens_max(self, messages: Sequence[Message]) -> int:
        """The most tokens that these messages can be."""
        return input_tokens_max(messages, self.expert.template_tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """The seats and bounds of one solve; `strong` is None when the cap has no room for it.

    `capped_by` says what set the cap: the request (or its policy), or the budget that had less
    left, with the Unix time at which that one starts anew. `texts_days` is how long its texts are
    kept once it has ended; `ladder` says why only a single call is made where more were asked for.
    `score_step` and `score_noise` are what a search is told of its scores, here lest one that goes
    on be told otherwise, and so is `pass_value`: V, where the request itself says what it is.
    `search_budget` is what the search may count on: the cap, and no more than an error costs.
    `gate` is what the learned gate's decision rests on, None where it is not asked; `pools_labels`
    says whether what the solve teaches counts for other tenants, too; `policy` is the name of the
    policy that it was planned under. An answer is of low confidence below `confidence_min`: the
    policy's, or more where the request's risk target is.
    """

    first: Seat
    second: Seat
    strong: Seat | None
    searchers: tuple[Seat, ...]
    value: NanoUSD
    cap: NanoUSD
    first_hold: NanoUSD
    width: int
    deadline_s: float
    texts_days: int = 7
    capped_by: str = "request"
    resets_at_s: int | None = None
    ladder: str | None = None
    score_step: float = 1e-3
    score_noise: float = 0.0
    pass_value: NanoUSD | None = None
    search_budget: NanoUSD | None = None
    pools_labels: bool = True
    gate: Standing | None = None
    policy: str = ""
    confidence_min: float = CONFIDENCE_MIN

    @property
    def begins_strong(self) -> bool:
        """Whether the gate skips the cheap call."""
        return self.gate is not None and self.gate.opening is Opening.STRONG

    @property
    def begins(self) -> Seat:
        """Whose call the solve begins with, where it begins with the gate's."""
        return self.strong if self.begins_strong and self.strong is not None else self.first


class ExpertNotAllowed(GatewayError):
    """The tenant's policy does not include an expert that the request names."""

    def __init__(self, name: str, allowed: Sequence[str]) -> None:
        super().__init__(f"expert {name!r} is not allowed here; allowed: {', '.join(allowed)}")
        self.name = name


def make(
    request: SolveRequest,
    policy: Policy,
    bench: Mapping[str, tuple[Expert, Price]],
    *,
    left: BudgetExceeded | None = None,
) -> Plan:
    """The plan of a request under a policy.

    `left` says what a budget of the tenant's still allows, where one has been found to be the
    tighter bound. Raises BudgetExceeded when not even one narrowed call fits, ExpertNotAllowed for
    an expert outside the policy, InvalidRequest for a search that nothing could score.
    """
    if request.mode is Mode.SEARCH and request.panel is None:
        raise InvalidRequest("evaluators", "a search needs at least one evaluator to climb by")
    cap = _cap(request, policy)
    if left is not None and left.available < cap:
        plan = _within(left.available, request, policy, bench)
        return replace(plan, capped_by=left.scope, resets_at_s=left.resets_at_s)
    return _within(cap, request, policy, bench)


def _within(
    cap: NanoUSD, request: SolveRequest, policy: Policy, bench: Mapping[str, tuple[Expert, Price]]
) -> Plan:
    seats = _Seats(request, bench, cap, _choose(request, policy))
    first = seats.narrowed(_default(request, policy))
    searchers = tuple(filter(None, map(seats.fitting, seats.searchers(policy))))
    width = request.search.concurrency or policy.concurrency
    scale = Scale() if request.panel is None else request.panel.scale
    value = policy.value if request.gate.value is None else request.gate.value
    plan = Plan(
        first=first,
        second=seats.fitting(seats.role(policy.second_opinion_expert)) or first,
        strong=seats.fitting(seats.role(policy.strong_expert)),
        searchers=searchers,
        value=value,
        cap=seats.cap,
        first_hold=NanoUSD(0),
        width=width,
        deadline_s=_deadline_s(request, policy),
        texts_days=policy.texts_days,
        score_step=float(scale.step),
        score_noise=scale.noise,
        pass_value=request.gate.value,
        search_budget=NanoUSD(min(seats.cap, value)),
        pools_labels=policy.pool_labels,
        policy=policy.name,
        confidence_min=max(policy.confidence_min, 1 - (request.gate.risk_target or 1.0)),
    )
    if request.mode in DEEP and not searchers:
        raise BudgetExceeded("request", seats.floor_cost(first.expert.name), seats.cap)
    return replace(plan, first_hold=_first_hold(request, plan))


def standing(plan: Plan, request: SolveRequest, gate: Standing) -> Plan:
    """The plan of a solve that the learned gate decides, and what it then holds at first."""
    asked = replace(plan, gate=gate)
    return replace(asked, first_hold=_first_hold(request, asked))


def searching(plan: Plan, request: SolveRequest, names: Sequence[str]) -> Plan:
    """The plan with these of its search experts alone, and what it then holds at first."""
    chosen = tuple(seat for seat in plan.searchers if seat.expert.name in names)
    asked = replace(plan, searchers=chosen)
    return replace(asked, first_hold=_first_hold(request, asked))


def wanted_tokens(request: SolveRequest, expert: Expert) -> int:
    """How long an answer of the expert may be where no cap shortens it."""
    return min(request.max_output_tokens or OUTPUT_TOKENS_DEFAULT, expert.max_output_tokens)


def expected_cost(request: SolveRequest, seat: Seat) -> NanoUSD:
    """What a fresh answer is taken to cost before any was paid for; only a search weighs it.

    A token is four bytes as a rule, and few answers come near their ceiling.
    """
    sent = sum(len(message.content.encode()) for message in fresh(request, seat.expert)) // 4
    return seat.price.cost(
        sent + seat.expert.template_tokens, -(-seat.max_output_tokens // CEILING_TO_USUAL)
    )


def round_cost(request: SolveRequest, plan: Plan) -> NanoUSD:
    """The worst case of one fresh call by each worker: what a search holds ahead."""
    dearest = max((s.worst_case(fresh(request, s.expert)) for s in plan.searchers), default=0)
    return NanoUSD(dearest * workers(request, plan))


def workers(request: SolveRequest, plan: Plan) -> int:
    """How many calls are made at once."""
    if request.mode is Mode.PARALLEL:
        return min(plan.width, request.parallel.k)
    return plan.width


def reading_cost(request: SolveRequest, seat: Seat, *, drafts: int) -> NanoUSD:
    """The worst case of a call that reads so many drafts, whatever they will say."""
    return seat.worst_case(longest_reading(request, seat.expert, drafts))


def _first_hold(request: SolveRequest, plan: Plan) -> NanoUSD:
    if request.mode in DEEP:
        return NanoUSD(min(plan.cap, round_cost(request, plan)))
    first = plan.begins.worst_case(fresh(request, plan.begins.expert))
    if request.mode is Mode.SINGLE or not may_buy_opinion(request) or plan.begins_strong:
        return first
    second = plan.second.worst_case(fresh(request, plan.second.expert))
    return NanoUSD(min(plan.cap, first + second))


def may_buy_opinion(request: SolveRequest) -> bool:
    """Whether the gate could ask for a second opinion: never where a score decides."""
    wanted = request.gate.second_opinion is not SecondOpinion.NEVER
    return wanted and not (request.panel is not None and request.panel.is_decisive)


def _cap(request: SolveRequest, policy: Policy) -> NanoUSD:
    default = policy.search_cap if request.mode in DEEP else policy.auto_cap
    return default if request.limits.max_cost is None else request.limits.max_cost


def _deadline_s(request: SolveRequest, policy: Policy) -> float:
    asked = request.limits.deadline_ms
    longest_s = BACKGROUND_DEADLINE_S if request.background else policy.deadline_s
    return longest_s if asked is None else min(asked / 1000, longest_s)


def _choose(request: SolveRequest, policy: Policy) -> Sequence[str]:
    allowed = sorted(policy.allowed())
    for name in request.experts or ():
        if name not in allowed:
            raise ExpertNotAllowed(name, allowed)
    return request.experts or allowed


def may_ask(request: SolveRequest, policy: Policy) -> Sequence[str]:
    """The names of the experts that the request may come to ask."""
    if request.mode is Mode.SINGLE:
        return [_default(request, policy)]
    everybody = policy.search_experts if request.mode in DEEP else sorted(policy.allowed())
    return request.experts or everybody


def _default(request: SolveRequest, policy: Policy) -> str:
    if request.experts is None or policy.default_expert in request.experts:
        return policy.default_expert
    return request.experts[0]


@dataclass(frozen=True, slots=True)
class _Seats:
    """Seats experts within a cap."""

    request: SolveRequest
    bench: Mapping[str, tuple[Expert, Price]]
    cap: NanoUSD
    chosen: Sequence[str]

    def role(self, name: str) -> str | None:
        """The expert of a role, unless the request's allow-list leaves it out."""
        return name if name in self.chosen else None

    def searchers(self, policy: Policy) -> Sequence[str]:
        """The experts a search chooses among; the caller's list where it names one."""
        return self.request.experts or policy.search_experts

    def fitting(self, name: str | None) -> Seat | None:
        """The expert's seat, narrowed to the cap; None where it does not fit."""
        if name is None:
            return None
        expert, price = self.bench[name]
        wanted = wanted_tokens(self.request, expert)
        floor = min(wanted, OUTPUT_TOKENS_MIN)
        seat = Seat(expert, price, wanted)
        messages = fresh(self.request, expert)
        if seat.worst_case(messages) <= self.cap:
            return seat
        # In millionths of a nano-dollar: a price is rounded once, and not here.
        spare = self.cap * 1_000_000 - seat.input_tokens_max(messages) * price.input
        affordable = spare // price.output if price.output else 0
        return replace(seat, max_output_tokens=affordable) if affordable >= floor else None

    def narrowed(self, name: str) -> Seat:
        """The expert's seat. Raises BudgetExceeded when not even a short answer fits."""
        seat = self.fitting(name)
        if seat is None:
            raise BudgetExceeded("request", self.floor_cost(name), self.cap)
        return seat

    def floor_cost(self, name: str) -> NanoUSD:
        """The worst case of the shortest call worth making."""
        expert, price = self.bench[name]
        wanted = wanted_tokens(self.request, expert)
        shortest = Seat(expert, price, min(wanted, OUTPUT_TOKENS_MIN))
        return shortest.worst_case(fresh(self.request, expert))
