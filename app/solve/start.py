"""How a run starts: from a claim and its plan, with a meter and attempts of its own."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from app.evaluators.panel import Panel
from app.gate.stack import Stack
from app.ids import BatchId, SolveId
from app.ledger.journal import Intent
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.price import Price
from app.money import NanoUSD
from app.providers.completion import Provider
from app.solve.attempt import FIRST, STRONG, Attempts, Past, intent_for
from app.solve.legacy import Legacy
from app.solve.meter import Meter
from app.solve.past import tokens_of
from app.solve.plan import DEEP, Plan, may_ask
from app.solve.prompts import fresh
from app.solve.recorded import refuse_unrecorded
from app.solve.request import Mode, SolveRequest
from app.solve.run import Run
from app.tenants.policy import Expert, Policy


@dataclass(frozen=True, slots=True)
class Bench:
    """Who can answer: experts at their prices, the providers that reach them, tenants' policies."""

    experts: Mapping[str, tuple[Expert, Price]]
    providers: Mapping[str, Provider]
    policies: Mapping[str, Policy]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a batch: within whose cap it stays, and the id that its one solve was given."""

    batch_id: BatchId
    solve_id: SolveId


def start(
    claim: Claim,
    request: SolveRequest,
    plan: Plan,
    *,
    ledger: Ledger,
    providers: Mapping[str, Provider],
    meter: Meter | None = None,
    past: Past | None = None,
    begun: Intent | None = None,
    legacy: Legacy | None = None,
    model: Stack | None = None,
) -> Run:
    """A run that has not begun; `meter` and `past` where it is one that goes on.

    `model` are the weights that the plan's gate names, None where they are not to be had.
    """
    meter = meter_of(request, plan, hold=plan.first_hold) if meter is None else meter
    attempts = Attempts(
        claim=claim,
        ledger=ledger,
        providers=providers,
        meter=meter,
        problem=request.problem,
        seed=request.seed,
        temperature=request.temperature,
        ends_at=asyncio.get_running_loop().time() + plan.deadline_s,
        past=past if legacy is None else legacy.past(past),
        begun=begun,
        last=FIRST if _ends_with_its_first_call(claim, request) else None,
    )
    started_at_s = time.time()
    return Run(
        claim,
        request,
        plan,
        meter,
        attempts,
        panel_of(request),
        started_at_s,
        legacy=legacy,
        providers=providers,
        model=model,
    )


def _ends_with_its_first_call(claim: Claim, request: SolveRequest) -> bool:
    """Whether nothing comes between the answer and the end: it is not even scored.

    What has no client may be left to another process in between, and so is written down at once.
    """
    detached = request.background or claim.token > 1
    return request.mode is Mode.SINGLE and request.panel is None and not detached


def first_intent(
    solve: SolveId, request: SolveRequest, plan: Plan, *, runs_at_once: bool
) -> Intent | None:
    """The call that the solve starts with, where that is known and may be journalled already.

    So it may where the solve `runs_at_once`, in the turn in which it is admitted.
    """
    if request.mode in DEEP:
        return None  # which expert it starts with, the engine will say
    if not runs_at_once:
        return None  # left to another process before it was made, it would seem to have been
    op = STRONG if plan.begins_strong else FIRST
    return intent_for(solve, op, 1, plan.begins, fresh(request, plan.begins.expert))


def panel_of(request: SolveRequest) -> Panel | None:
    """What scores the answers, if anything; raises InvalidRequest where it cannot be built."""
    asked = request.panel
    return None if asked is None else Panel(asked.evaluators, asked.combine)


def refuse_unscorable(request: SolveRequest, policy: Policy, bench: Bench) -> None:
    """Raise InvalidRequest for a panel that cannot be built, or that cannot score these experts."""
    panel_of(request)
    experts = [bench.experts[name][0] for name in may_ask(request, policy) if name in bench.experts]
    refuse_unrecorded(request, experts, bench.providers)


def meter_of(
    request: SolveRequest,
    plan: Plan,
    *,
    hold: NanoUSD,
    spent: NanoUSD = NanoUSD(0),
    past: Past | None = None,
) -> Meter:
    """The bounds of a solve, and what of them is used."""
    return Meter(
        cap=plan.cap,
        hold=hold,
        tokens_max=request.limits.max_total_tokens,
        calls_max=request.limits.max_calls,
        spent=spent,
        tokens=0 if past is None else tokens_of(past, request),
        calls=0 if past is None else len(past.lines),
    )
