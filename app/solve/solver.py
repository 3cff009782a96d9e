"""What happens to a request and to its money. Read this first.

    admit    plan the worst case, hold the first amount, store what a run needs
    run      gate: first answer, maybe a second opinion, decide; then one strong call or a search,
             or, for who asks for it, a deliberation
    finish   post what was spent, free the rest, keep the answer

Every call goes through `Attempts`: held, journalled, charged. However a run ends, the best answer
that was paid for is returned, and its account is settled before anybody is told.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from structlog.contextvars import bind_contextvars

from app.accounts import account_of
from app.db.engine import DatabaseUnavailable, uninterrupted
from app.gate.gate import Route
from app.ids import SolveId, solve_id
from app.ledger.endings import Ending
from app.ledger.idempotency import IdempotencyKey
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim, Opening, Queue
from app.ledger.records import Records
from app.ledger.refusals import (
    BudgetExceeded,
    CancelAsked,
    ClaimLost,
    LadderReached,
    LimitReached,
)
from app.solve import outcome
from app.solve import plan as planner
from app.solve.attempt import FIRST, STRONG, CallFailed, HandedOver
from app.solve.choosing import choose
from app.solve.decide import decide, forced_single
from app.solve.engine import engine_for
from app.solve.estimate import Estimate, estimate
from app.solve.explore import Explorer
from app.solve.learned import NOTHING_LEARNED, Learned
from app.solve.legacy import Legacy, seated
from app.solve.notify import notices
from app.solve.outcome import Cause, conclude
from app.solve.past import past_of, plan_from
from app.solve.plan import Plan
from app.solve.prompts import fresh
from app.solve.report import Solved, without_texts
from app.solve.request import Mode, SolveRequest, request_from, to_document
from app.solve.resuming import stored_legacy
from app.solve.run import Decision, Run
from app.solve.running import Running
from app.solve.start import Bench, Line, first_intent, meter_of, refuse_unscorable, start
from app.solve.tally import Tally
from app.solve.tree import reopen
from app.store.treelog import TreeLog
from app.tenants.directory import Tenant
from app.tenants.policy import Policy, PolicyNotConfigured

DAY_S: Final = 86_400.0

log = structlog.get_logger()


class Solver:
    """Carries out solves. `new_id` names them; given by who must know the names beforehand."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        records: Records,
        tree_log: TreeLog,
        bench: Bench,
        tally: Tally,
        running: Running,
        owner: str,
        learned: Learned = NOTHING_LEARNED,
        new_id: Callable[[], SolveId] = solve_id,
    ) -> None:
        self._ledger, self._records, self._tree_log = ledger, records, tree_log
        self._bench, self._tally = bench, tally
        self._running, self._owner = running, owner
        self._new_id = new_id
        self.learned, self.providers = learned, bench.providers
        self._start = partial(start, ledger=ledger, providers=bench.providers)

    async def solve(
        self,
        tenant: Tenant,
        request: SolveRequest,
        *,
        key: IdempotencyKey | None = None,
        legacy: Legacy | None = None,
    ) -> tuple[Solved, Mapping[str, str]]:
        """Admit the request and run it to its end: the result, and its texts, kept or not."""
        return await self.run(await self.admit(tenant, request, key=key, legacy=legacy))

    async def admit(
        self,
        tenant: Tenant,
        request: SolveRequest,
        *,
        key: IdempotencyKey | None = None,
        legacy: Legacy | None = None,
        line: Line | None = None,
        queue: Queue | None = None,
    ) -> Run:
        """Hold the first amount and store what a run needs, or refuse before any call.

        With a `legacy`, its search goes on from that of the solve that it was taken over from. With
        a `queue`, the solve waits there, and what is returned is only to be read, not to be run.
        Where so much is used that only single calls are begun, the gate is not asked, and for a
        search LadderReached is raised. Raises BudgetExceeded, RateLimited, ExpertNotAllowed,
        InvalidRequest or PolicyNotConfigured; AlreadyAsked where `key` was used for the same
        request, or the `line` has its solve, and IdempotencyKeyReused where the key was used for
        another.
        """
        await self._ledger.refuse_repeat(tenant.id, key)
        policy = self._policy(tenant)
        try:
            return await self._admit(
                tenant, request, policy, key=key, legacy=legacy, line=line, queue=queue
            )
        except LadderReached as ladder:
            if request.mode is not Mode.AUTO:
                raise
            single = replace(request, mode=Mode.SINGLE)
            return await self._admit(
                tenant, single, policy, key=key, ladder=ladder, line=line, queue=queue
            )

    async def _admit(
        self,
        tenant: Tenant,
        request: SolveRequest,
        policy: Policy,
        *,
        key: IdempotencyKey | None,
        legacy: Legacy | None = None,
        ladder: LadderReached | None = None,
        line: Line | None = None,
        queue: Queue | None = None,
    ) -> Run:
        opened = partial(
            self._open,
            tenant,
            request,
            policy,
            key=key,
            legacy=legacy,
            ladder=ladder,
            line=line,
            queue=queue,
        )
        try:
            return await opened()
        except BudgetExceeded as refusal:
            # How many lines run beside a batch's must not change what it answers.
            if refusal.scope == "request" or line is not None:
                raise
            left = refusal
        try:
            # Less than usual is left: think as deep as that allows, if it allows anything.
            return await opened(left=left)
        except BudgetExceeded as refusal:
            raise left if refusal.scope == "request" else refusal from None

    def check(self, tenant: Tenant, request: SolveRequest) -> None:
        """Refuse as `admit` does what no budget could help; nothing is held, and nothing waits."""
        policy = self._policy(tenant)
        planner.make(request, policy, self._bench.experts)
        refuse_unscorable(request, policy, self._bench)

    async def estimate(self, tenant: Tenant, request: SolveRequest) -> Estimate:
        """What the request would hold now and may cost; nothing is held, and nothing is called.

        Refuses as `admit` does, except that a budget without room is a part of the answer.
        """
        policy = self._policy(tenant)
        refuse_unscorable(request, policy, self._bench)
        levels = await self._ledger.budgets(account_of(tenant, session=request.session))
        foresee = partial(self.learned.foresee, tenant, policy)
        return estimate(request, policy, self._bench.experts, levels, foresee=foresee)

    async def resume(self, claim: Claim) -> Run:
        """Take up a solve that another process left, at the prices and bounds it was admitted with.

        What its journal has is not asked for again, and the budget it has spent stays spent. Raises
        ClaimLost where another process has meanwhile ended it.
        """
        calls = await self._records.calls(claim.solve_id)
        texts = await self._records.texts(claim.solve_id)
        # Last: of a solve that has not ended by now, nothing was erased before.
        record = await self._records.solve(claim.account.tenant_id, claim.solve_id)
        assert record is not None, "a claim names a solve"
        if record.completed_at is not None:
            raise ClaimLost(f"solve {claim.solve_id} was ended by another process")
        assert record.request is not None, "inputs outlive the run"
        assert record.plan is not None, "inputs outlive the run"
        request, plan = request_from(record.request), plan_from(record.plan)
        past = past_of(plan, calls, texts)
        meter = meter_of(request, plan, hold=record.hold, spent=record.posted, past=past)
        legacy = await stored_legacy(self._records, record, texts)
        model = await self.learned.model_of(plan)
        run = self._start(claim, request, plan, meter=meter, past=past, legacy=legacy, model=model)
        run.started_at_s = record.created_at.timestamp()
        run.search = await reopen(self._tree_log, record, calls)
        return run

    async def run(self, run: Run) -> tuple[Solved, Mapping[str, str]]:
        """Answer, settle, and say how it ended.

        Cancelled, a solve settles, for its client has left. One that has no client stays as it is
        for the next replica; so it does where HandedOver is raised.
        """
        bind_contextvars(solve_id=run.claim.solve_id)  # for the log
        with self._running.keep(run):
            return await self._run(run)

    async def _run(self, run: Run) -> tuple[Solved, Mapping[str, str]]:
        try:
            cause = await self._until_it_ends(run)
        except asyncio.CancelledError:
            if not run.is_detached:
                await self._finish(run, outcome.CANCELLED)
            raise
        except (ClaimLost, DatabaseUnavailable, HandedOver):
            # Not ours to end any more, or not possible: whoever claims it next will.
            raise
        except Exception:
            await self._finish(run, outcome.BROKEN)
            raise
        return await self._finish(run, cause)

    async def _finish(self, run: Run, cause: Cause) -> tuple[Solved, Mapping[str, str]]:
        solved, texts = conclude(run, cause)
        ending = Ending(
            state=solved.status,
            route=None if solved.decision is None else solved.decision.route,
            result=to_document(solved if run.request.store else without_texts(solved)),
            texts=texts,
            erase=not run.request.store,
            keep_s=run.plan.texts_days * DAY_S,
            notices=notices(run.request.webhook, solved, tenant_id=run.claim.account.tenant_id),
        )
        await uninterrupted(self._ledger.finish(run.claim, ending, loose=run.attempts.loose))
        self._tally.solved(solved, tenant_id=run.claim.account.tenant_id)
        self.learned.teach(run, solved)
        return solved, outcome.texts_told(run, texts)

    async def _until_it_ends(self, run: Run) -> Cause:
        try:
            async with run.within_its_time():
                return await self._answer(run)
        except CancelAsked:
            return outcome.CANCELLED
        except TimeoutError:
            if run.is_cancelled:
                return outcome.CANCELLED
            for answer in run.take_late():
                if answer.reply.op == STRONG:
                    run.chosen = choose(run, answer)
            return outcome.out_of_time(run)
        except (BudgetExceeded, LimitReached) as refusal:
            return outcome.refused(refusal)
        except CallFailed as failure:
            return outcome.upstream(failure)

    async def _answer(self, run: Run) -> Cause:
        match await self.route(run):
            case Route.SINGLE:
                return outcome.DONE
            case Route.STRONG:
                return await self.ask_strong(run)
            case Route.SEARCH | Route.PARALLEL as route:
                return await self._explore(run, route)

    async def route(self, run: Run) -> Route:
        """Let the gate decide, or the request; what was asked for that is among the answers."""
        match run.request.mode:
            case Mode.SEARCH:
                why = "the request asks for a search" if run.legacy is None else run.legacy.because
                run.decision = Decision(Route.SEARCH, "forced", [why])
            case Mode.PARALLEL:
                why = "the request asks for drafts and passes over them"
                run.decision = Decision(Route.PARALLEL, "forced", [why])
            case Mode.SINGLE:
                run.decision = forced_single(run.plan)
                await run.ask(FIRST, run.plan.first)
            case Mode.AUTO:
                started = time.perf_counter()
                route = await decide(run)
                run.gate_ms = (time.perf_counter() - started) * 1000
                return route
        return run.decision.route

    async def ask_strong(self, run: Run) -> Cause:
        """One call to the strong expert, where the cap has room for it."""
        if run.plan.strong is None:
            return outcome.refused(BudgetExceeded("request", run.meter.left, run.meter.left))
        strong = await run.ask(STRONG, run.plan.strong)
        run.chosen = choose(run, strong)
        return outcome.DONE

    async def _explore(self, run: Run, route: Route) -> Cause:
        started = time.perf_counter()
        run.search = engine_for(route, run.request, run.plan, opened=run.search)
        explorer = Explorer(run, run.search, tree_log=self._tree_log)
        try:
            await explorer.take_up()
            await explorer.adopt_answers()
            return outcome.searched(await explorer.explore())
        finally:
            run.search_ms = (time.perf_counter() - started) * 1000

    def _policy(self, tenant: Tenant) -> Policy:
        policy = self._bench.policies.get(tenant.policy)
        if policy is None:
            log.error("policy_not_configured", tenant_id=tenant.id, policy=tenant.policy)
            raise PolicyNotConfigured(tenant.policy)
        return policy

    async def _open(
        self,
        tenant: Tenant,
        request: SolveRequest,
        policy: Policy,
        *,
        key: IdempotencyKey | None,
        legacy: Legacy | None,
        left: BudgetExceeded | None = None,
        ladder: LadderReached | None = None,
        line: Line | None = None,
        queue: Queue | None = None,
    ) -> Run:
        plan = planner.make(request, policy, self._bench.experts, left=left)
        made = self._new_id() if line is None else line.solve_id
        plan = self.learned.plan(plan, tenant, request, policy, made, resumes=legacy is not None)
        if ladder is not None:
            plan = replace(plan, ladder=str(ladder))
        legacy, search = (None, None) if legacy is None else seated(legacy, request, plan)
        opening = Opening(
            solve_id=made,
            account=account_of(
                tenant, session=request.session, batch=None if line is None else line.batch_id
            ),
            cap=plan.cap,
            first_hold=plan.first_hold,
            request=to_document(request),
            plan=to_document(plan),
            owner=self._owner if queue is None else queue.name,
            # The tokens of a line that was admitted are then its own, as they must be: it has one
            # solve, which cannot wait for others.
            first=first_intent(
                made, request, plan, runs_at_once=line is not None or not request.background
            ),
            idempotency=key,
            cost_center=tenant.cost_center,
            is_deep=request.mode is not Mode.SINGLE,
            tokens_max=plan.begins.tokens_max(fresh(request, plan.begins.expert)),
            inheritance=None if legacy is None else legacy.inheritance(),
            queue=queue,
        )
        refuse_unscorable(request, policy, self._bench)
        claim = await self._hold(opening, request, plan)
        model = await self.learned.model_of(plan)
        run = self._start(claim, request, plan, begun=opening.first, legacy=legacy, model=model)
        run.search = search
        return run

    async def _hold(self, opening: Opening, request: SolveRequest, plan: Plan) -> Claim:
        queued = opening.queue is not None  # then it is not ours to run, nor to end
        with nullcontext() if queued else self._running.starting(opening.solve_id):
            holding = asyncio.ensure_future(self._ledger.hold(opening))
            try:
                return await uninterrupted(holding)
            except asyncio.CancelledError:
                if holding.exception() is None and not queued:
                    # Held for a client that has left meanwhile.
                    run = self._start(holding.result(), request, plan, begun=opening.first)
                    await self._finish(run, outcome.CANCELLED)
                raise
