"""What earlier solves taught: asked when a solve is admitted, told when it has ended."""

from dataclasses import dataclass
from typing import Final

from app.gate.stack import Stack
from app.ids import SolveId
from app.learning.learner import Learner
from app.learning.scorecards import Scorecards
from app.solve.auditing import Auditing
from app.solve.gating import foreseen, gated, teach
from app.solve.plan import Plan
from app.solve.report import Solved
from app.solve.request import SolveRequest
from app.solve.routing import routed, score
from app.solve.run import Run
from app.tenants.directory import Tenant
from app.tenants.policy import Policy


@dataclass(frozen=True, slots=True)
class Learned:
    """The gate's labels, the experts' scorecards, and audits of what the gate accepts.

    Without the first it decides by its untrained rule, without the second every expert searches,
    and without the last nothing is certified.
    """

    learner: Learner | None = None
    scorecards: Scorecards | None = None
    auditing: Auditing | None = None

    def plan(
        self,
        plan: Plan,
        tenant: Tenant,
        request: SolveRequest,
        policy: Policy,
        solve_id: SolveId,
        *,
        resumes: bool,
    ) -> Plan:
        """The plan with its gate and the experts of its search; those of one it `resumes` stay."""
        audits = None if self.auditing is None else self.auditing.audits
        plan = gated(self.learner, audits, tenant, request, plan, policy)
        if resumes:
            return plan
        return routed(self.scorecards, tenant, request, plan, policy, solve_id=solve_id)

    def foresee(
        self, tenant: Tenant, policy: Policy, request: SolveRequest, plan: Plan
    ) -> bool | None:
        """Whether an opinion would be bought, for an estimate; None where no labels tell."""
        return foreseen(self.learner, tenant, request, plan, policy)

    async def model_of(self, plan: Plan) -> Stack | None:
        """The weights that a plan's gate decides by; None where it is not asked or it is lost."""
        if plan.gate is None or self.learner is None:
            return None
        return await self.learner.fetch(plan.gate.version)

    def teach(self, run: Run, solved: Solved) -> None:
        """Learn from a solve that has ended. What fails to be learned must not fail it."""
        teach(self.learner, self.auditing, run, solved)
        score(self.scorecards, run)


NOTHING_LEARNED: Final = Learned()
