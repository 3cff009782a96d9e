"""Audits: what the alternative would have answered where the gate accepted the first answer.

Of the accepted answers of a policy that opted in, a few are drawn when they are given. The same
request is then put to the strong expert, in a solve of the operator's own tenant and on its budget,
under the policy of the tenant that is audited, and without keeping a text. Never where the request
itself is not stored.

It is a label for the gate, as weak as an escalated pair's, and a row for certificates, where it
counts once a decisive evaluator or the caller says whether the accepted answer was right. What
waits here is lost with the process: an audit fewer, whatever it would have found. Its idempotency
key lets no audit be paid twice.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Protocol

import structlog

from app.answers.canonical import equal
from app.answers.extract import extract
from app.errors import GatewayError
from app.gate.certificate import Promise
from app.gate.learned import Standing
from app.ids import SolveId
from app.learning.audits import AuditRow, Audits
from app.learning.learner import Learner
from app.learning.lesson import Lesson, audited
from app.ledger.idempotency import IdempotencyKey
from app.ledger.refusals import AlreadyAsked
from app.solve.decide import is_accepted
from app.solve.outcome import ANSWER
from app.solve.plan import Plan
from app.solve.report import Solved, Status
from app.solve.request import CATEGORY, GateOptions, Limits, Mode, SolveRequest
from app.solve.run import Run
from app.solve.weighing import pair_of
from app.telemetry.auditing import AuditMetrics
from app.tenants.directory import Directory, Tenant
from app.tenants.policy import Policy

AT_ONCE: Final = 2
"""Audits that run: little beside those who wait for an answer."""
WAITING_MAX: Final = 256
"""Audits that wait; what is drawn beyond is dropped, and counted."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An accepted answer that was drawn: its facts, and what to ask of whom."""

    lesson: Lesson
    request: SolveRequest
    policy: str
    versions: str
    propensity: float
    chance: float | None
    answer: str | None


class Solves(Protocol):
    """What carries out an audit; the solver."""

    async def solve(
        self, tenant: Tenant, request: SolveRequest, *, key: IdempotencyKey | None = None
    ) -> tuple[Solved, Mapping[str, str]]:
        """The result and its texts, kept or not."""
        ...


class Auditing:
    """Draws accepted answers, and asks for their alternatives; `payer` names who pays, if any."""

    def __init__(
        self,
        *,
        audits: Audits,
        learner: Learner,
        directory: Directory,
        payer: str | None,
        metrics: AuditMetrics,
    ) -> None:
        self.audits = audits
        self._learner, self._directory, self._payer = learner, directory, payer
        self._metrics = metrics
        self._waiting = asyncio.Queue[Wanted](WAITING_MAX)

    @property
    def waiting(self) -> int:
        """How many were drawn, and are yet to be begun."""
        return self._waiting.qsize()

    def consider(self, run: Run, lesson: Lesson) -> None:
        """Draw whether this answer is audited, by its solve's id; if so, queue it."""
        standing, made = run.plan.gate, run.decision
        if self._payer is None or standing is None or made is None:
            return
        if run.plan.strong is None or not is_accepted(standing, made):
            return
        if Random(f"audit of {lesson.solve_id}").random() >= standing.audit_share:
            return
        try:
            self._waiting.put_nowait(_wanted(run, lesson, standing))
        except asyncio.QueueFull:
            self._metrics.audit("dropped")

    async def run(self, solver: Solves) -> None:
        """Audit what is drawn until cancelled, when what runs is settled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(self._work(solver))

    async def _work(self, solver: Solves) -> None:
        while True:
            wanted = await self._waiting.get()
            try:
                self._metrics.audit(await self._audit(solver, wanted))
            except AlreadyAsked:
                continue  # by whoever ran the solve before it was taken up here
            except GatewayError as refusal:
                self._metrics.audit("refused")
                log.info("audit_refused", solve_id=wanted.lesson.solve_id, reason=str(refusal))
            except Exception:  # an audit that fails must not end those to come
                self._metrics.audit("failed")
                log.exception("audit_failed", solve_id=wanted.lesson.solve_id)

    async def _audit(self, solver: Solves, wanted: Wanted) -> str:
        """What became of it."""
        payer = None if self._payer is None else await self._directory.named(self._payer)
        if payer is None:
            log.warning("audit_tenant_unknown", name=self._payer)
            return "refused"
        # Whose answer is audited decides who may see its text.
        asking = replace(payer, policy=wanted.policy)
        key = IdempotencyKey(f"audit:{wanted.lesson.solve_id}", "audit")
        solved, texts = await solver.solve(asking, wanted.request, key=key)
        if solved.status not in {Status.COMPLETED, Status.INCOMPLETE}:
            return "failed"
        row = compared(wanted, solved, texts.get(ANSWER))
        self._learner.learn(audited(wanted.lesson, same=row.same, alternative=row.alternative))
        await self._learner.flush()
        await self.audits.write(row)
        return "done"


def answered_for(  # noqa: PLR0917 - those of an admission
    audits: Audits,
    tenant: Tenant,
    request: SolveRequest,
    plan: Plan,
    policy: Policy,
    standing: Standing,
) -> Standing:
    """The standing with the certificate that stands now, and how likely its audit is."""
    if plan.strong is None:
        return standing
    pair, category = pair_of(plan), standing.category
    share = audits.share(
        tenant.id, pair, category, pooled=standing.pooled, wanted=policy.audit_share
    )
    is_kept = request.store and plan.texts_days > 0
    is_other = plan.strong.expert.name != plan.first.expert.name
    return replace(
        standing,
        certificate=audits.certified(
            tenant.id,
            pair,
            category,
            versions=versions_of(plan),
            promise=Promise(policy.risk_epsilon, policy.risk_delta),
        ),
        audit_share=share if is_kept and is_other else 0.0,
    )


def versions_of(plan: Plan) -> str:
    """Those of the cheap expert and the strong one; a changed one is another."""
    strong = "-" if plan.strong is None else plan.strong.expert.version
    return f"{plan.first.expert.version}>{strong}"


def compared(wanted: Wanted, solved: Solved, text: str | None) -> AuditRow:
    """What the alternative's answer says of the accepted one."""
    answer = None if text is None else extract(text, wanted.request.extract)
    both = None if answer is None or wanted.answer is None else (answer, wanted.answer)
    panel, score = wanted.request.panel, None
    if panel is not None and panel.is_decisive and solved.evaluation is not None:
        score = solved.evaluation.score
    target = wanted.request.search.target_score
    lesson = wanted.lesson
    return AuditRow(
        solve_id=lesson.solve_id,
        audit_id=SolveId(solved.id),
        tenant_id=lesson.tenant_id,
        pair=lesson.pair,
        category=lesson.category,
        pooled=lesson.pooled,
        versions=wanted.versions,
        propensity=wanted.propensity,
        cost=solved.spent,
        same=None if both is None else equal(*both),
        chance=wanted.chance,
        cheap=lesson.cheap,
        alternative=None if score is None else float(score >= target),
    )


def _wanted(run: Run, lesson: Lesson, standing: Standing) -> Wanted:
    strong, made, best = run.plan.strong, run.decision, run.best
    assert strong is not None, "there is an alternative"
    return Wanted(
        lesson=lesson,
        request=_alternative(run.request, strong.expert.name, lesson),
        policy=run.plan.policy,
        versions=versions_of(run.plan),
        propensity=standing.audit_share,
        chance=None if made is None else made.p_single,
        answer=None if best is None else best.answer,
    )


def _alternative(request: SolveRequest, expert: str, lesson: Lesson) -> SolveRequest:
    """One call to the strong expert, by the policy's bounds, for the request's are its payer's."""
    category = {} if lesson.category is None else {CATEGORY: lesson.category}
    return replace(
        request,
        mode=Mode.SINGLE,
        experts=(expert,),
        gate=GateOptions(),
        limits=Limits(),
        store=False,
        background=False,
        session=None,
        webhook=None,
        metadata={"audit_of": lesson.solve_id} | category,
    )
