"""What the learned gate's decision will rest on, found out when a solve is admitted.

It is stored with the plan: a replay, and a process that takes the solve over, decide on the same,
whatever has been learned meanwhile.
"""

import structlog

from app.gate.category import category_of
from app.gate.gate import SecondOpinion
from app.gate.learned import Standing, buys_opinion, opened
from app.learning.audits import Audits
from app.learning.learner import Learner
from app.solve import plan as planner
from app.solve.auditing import Auditing, answered_for
from app.solve.lessons import lesson_of
from app.solve.plan import Plan
from app.solve.report import Solved
from app.solve.request import CATEGORY, Mode, SolveRequest
from app.solve.run import Run
from app.solve.weighing import case_before, pair_of
from app.tenants.directory import Tenant
from app.tenants.policy import Policy

log = structlog.get_logger()


def gated(  # noqa: PLR0917 - those of an admission
    learner: Learner | None,
    audits: Audits | None,
    tenant: Tenant,
    request: SolveRequest,
    plan: Plan,
    policy: Policy,
) -> Plan:
    """The plan with its gate; as it is where that is not asked, has no weights, or fails."""
    if learner is None or request.mode is not Mode.AUTO:
        return plan
    try:
        category = category_of(request.metadata.get(CATEGORY), request.problem)
        found = learner.standing(tenant.id, pair_of(plan), category, pooled=policy.pool_labels)
        if found is None:
            return plan
        found = _opened(learner, request, plan, found)
        if audits is not None:
            found = answered_for(audits, tenant, request, plan, policy, found)
        return planner.standing(plan, request, found)
    except Exception:  # a gate that fails must not fail its request
        log.exception("gate_failed", tenant_id=tenant.id)
        return plan


def foreseen(
    learner: Learner | None, tenant: Tenant, request: SolveRequest, plan: Plan, policy: Policy
) -> bool | None:
    """Whether the gate would buy an opinion, as far as it knows before any call; None if not asked.

    Of a problem as they are on average: what an answer will look like is not foreseen.
    """
    standing = gated(learner, None, tenant, request, plan, policy).gate
    if standing is None or learner is None or learner.current is None:
        return None
    try:
        return buys_opinion(learner.current, standing, case_before(request, plan))
    except Exception:  # an estimate by the untrained rule is one, too
        log.exception("gate_failed", tenant_id=tenant.id)
        return None


def teach(learner: Learner | None, auditing: Auditing | None, run: Run, solved: Solved) -> None:
    """What a solve that has ended teaches, where it teaches anything; it may be audited, too."""
    if learner is None:
        return
    try:
        lesson = lesson_of(run, solved)
        if lesson is None:
            return
        learner.learn(lesson)
        if auditing is not None:
            auditing.consider(run, lesson)
    except Exception:  # the answer is there, and paid for
        log.exception("lesson_not_learned", solve_id=solved.id)


def _opened(learner: Learner, request: SolveRequest, plan: Plan, found: Standing) -> Standing:
    """Only where nothing else checks the answer: a verifier's refusal is worth its cheap call."""
    wanted = request.gate.second_opinion is SecondOpinion.ALWAYS
    if request.panel is not None or wanted or learner.current is None:
        return found
    return opened(learner.current, found, case_before(request, plan), seed=request.seed)
