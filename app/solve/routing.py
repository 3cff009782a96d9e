"""Which of a policy's experts enter a search, and what a solve that has ended says of them."""

from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Final

import structlog

from app.gate.category import category_of
from app.gate.routing import BLANK, Card, route
from app.ids import SolveId
from app.learning.scorecards import Scorecards
from app.search.tree import ROOT
from app.solve import plan as planner
from app.solve.attempt import FIRST, STRONG
from app.solve.engine import nodes_of
from app.solve.lessons import SECOND
from app.solve.plan import Plan, expected_cost
from app.solve.request import CATEGORY, Mode, SolveRequest
from app.solve.run import Answer, Run
from app.tenants.directory import Tenant
from app.tenants.policy import Expert, Policy

SEARCHING: Final = (Mode.AUTO, Mode.SEARCH)

log = structlog.get_logger()


def routed(
    scorecards: Scorecards | None,
    tenant: Tenant,
    request: SolveRequest,
    plan: Plan,
    policy: Policy,
    *,
    solve_id: SolveId,
) -> Plan:
    """The plan with the few experts that promise most, where the policy says how few.

    As it is where the request names its experts itself, or where what was learned fails.
    """
    most = policy.search_experts_max
    if scorecards is None or most is None or len(plan.searchers) <= most:
        return plan
    if request.mode not in SEARCHING or request.experts is not None:
        return plan
    try:
        category = category_of(request.metadata.get(CATEGORY), request.problem)
        found = scorecards.cards(tenant.id, category)
        names = route(
            {seat.expert.name: found.get(_card_of(seat.expert), BLANK) for seat in plan.searchers},
            {seat.expert.name: expected_cost(request, seat) for seat in plan.searchers},
            most=most,
            value=plan.value,
            random=Random(f"experts of {solve_id}"),
        )
    except Exception:  # what was learned must not fail a request
        log.exception("experts_not_routed", tenant_id=tenant.id)
        return plan
    return planner.searching(plan, request, names)


def score(scorecards: Scorecards | None, run: Run) -> None:
    """Count the fresh answers of a run whose evaluators know right from wrong."""
    panel = run.request.panel
    if scorecards is None or panel is None or not panel.is_decisive:
        return
    request, account = run.request, run.claim.account
    try:
        scores = scores_of(run, request.search.target_score)
        category = category_of(request.metadata.get(CATEGORY), request.problem)
        scorecards.tell(account.tenant_id, category, scores, pooled=run.plan.pools_labels)
    except Exception:  # the answer is there, and paid for
        log.exception("experts_not_scored", solve_id=run.claim.solve_id)


def scores_of(run: Run, target: float) -> Mapping[str, Card]:
    """What the fresh answers of each expert came to."""
    scores: defaultdict[str, Card] = defaultdict(Card)
    for answer in run.answers:
        if answer.score is not None and _is_fresh(run, answer):
            right = float(answer.score >= target)
            card = _card_of(answer.reply.seat.expert)
            scores[card] = scores[card].told(Card(1, right, answer.reply.cost))
    return scores


def _is_fresh(run: Run, answer: Answer) -> bool:
    """Whether it was asked for without an earlier answer to go on from."""
    if answer.node is None or run.search is None:
        return answer.reply.op in {FIRST, SECOND, STRONG}
    nodes = nodes_of(run.search)
    return answer.node <= len(nodes) and nodes[answer.node - 1].parent == ROOT


def _card_of(expert: Expert) -> str:
    return f"{expert.name}@{expert.version}"
