"""What happens to a request and to its money. Read this first.

    admit    plan the worst case, hold the first amount, store what a run needs
    run      gate: first answer, maybe a second opinion, decide; then one strong call or a search
    finish   post what was spent, free the rest, keep the answer

Every call goes through `Attempts`: held, journalled, charged. However a run ends, the best answer
that was paid for is returned, and its account is settled before anybody is told.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.contextvars import bind_contextvars

from app.db.engine import DatabaseUnavailable, uninterrupted
from app.evaluators.panel import Panel
from app.gate.gate import Route
from app.ids import SolveId, solve_id
from app.ledger.budgets import Account
from app.ledger.endings import Ending
from app.ledger.idempotency import IdempotencyKey
from app.ledger.journal import Intent
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim, Opening
from app.ledger.price import Price
from app.ledger.records import Records
from app.ledger.refusals import BudgetExceeded, CancelAsked, ClaimLost, LimitReached
from app.money import NanoUSD
from app.providers.completion import Provider
from app.search.search import Search
from app.solve import outcome
from app.solve import plan as planner
from app.solve.attempt import FIRST, Attempts, CallFailed, HandedOver, Past, intent_for
from app.solve.decide import choose, decide
from app.solve.estimate import Estimate, estimate
from app.solve.explore import Explorer
from app.solve.meter import Meter
from app.solve.outcome import Cause, conclude
from app.solve.past import past_of, plan_from, tokens_of
from app.solve.plan import Plan
from app.solve.prompts import fresh
from app.solve.report import Solved, without_texts
from app.solve.request import Mode, SolveRequest, request_from, to_document
from app.solve.run import Decision, Run
from app.solve.running import Running
from app.solve.tally import Tally
from app.solve.tree import reopen, search_settings
from app.store.treelog import TreeLog
from app.tenants.directory import Tenant
from app.tenants.policy import Expert, Policy, PolicyNotConfigured

STRONG: Final = "strong"
"""The op of the one call to the strong expert."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bench:
    """Who can answer: experts at their prices, the providers that reach them, tenants' policies."""

    experts: Mapping[str, tuple[Expert, Price]]
    providers: Mapping[str, Provider]
    policies: Mapping[str, Policy]


class Solver:
    """Carries out solves."""

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
    ) -> None:
        self._ledger, self._records, self._tree_log = ledger, records, tree_log
        self._bench, self._tally = bench, tally
        self._running, self._owner = running, owner

    async def solve(
        self, tenant: Tenant, request: SolveRequest, *, key: IdempotencyKey | None = None
    ) -> tuple[Solved, Mapping[str, str]]:
        """Admit the request and run it to its end: the result, and its texts, kept or not."""
        return await self.run(await self.admit(tenant, request, key=key))

    async def admit(
        self, tenant: Tenant, request: SolveRequest, *, key: IdempotencyKey | None = None
    ) -> Run:
        """Hold the first amount and store what a run needs, or refuse before any call.

        Raises BudgetExceeded, ExpertNotAllowed, InvalidRequest or PolicyNotConfigured; AlreadyAsked
        where `key` was used for the same request, IdempotencyKeyReused where it was for another.
        """
        await self._ledger.refuse_repeat(tenant.id, key)
        account = _account(tenant)
        policy = self._policy(tenant)
        try:
            return await self._open(account, request, policy, key=key)
        except BudgetExceeded as refusal:
            if refusal.scope == "request":
                raise
            left = refusal
        try:
            # Less than usual is left: think as deep as that allows, if it allows anything.
            return await self._open(account, request, policy, key=key, left=left)
        except BudgetExceeded as refusal:
            raise left if refusal.scope == "request" else refusal from None

    async def estimate(self, tenant: Tenant, request: SolveRequest) -> Estimate:
        """What the request would hold now and may cost; nothing is held, and nothing is called.

        Refuses as `admit` does, except that a budget without room is a part of the answer.
        """
        policy = self._policy(tenant)
        _panel(request)  # may refuse
        levels = await self._ledger.budgets(_account(tenant))
        return estimate(request, policy, self._bench.experts, levels)

    async def resume(self, claim: Claim) -> Run:
        """Take up a solve that another process left, at the prices and bounds it was admitted with.

        What its journal has is not asked for again, and the budget it has spent stays spent.
        """
        record = await self._records.solve(claim.account.tenant_id, claim.solve_id)
        assert record is not None, "a claim names a solve"
        assert record.request is not None, "inputs outlive the run"
        assert record.plan is not None, "inputs outlive the run"
        calls = await self._records.calls(claim.solve_id)
        texts = await self._records.texts(claim.solve_id)
        request, plan = request_from(record.request), plan_from(record.plan)
        past = past_of(plan, calls, texts)
        meter = _meter(request, plan, hold=record.hold, spent=record.posted, past=past)
        run = self._start(claim, request, plan, _panel(request), meter=meter, past=past)
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
        )
        await uninterrupted(self._ledger.finish(run.claim, ending, loose=run.attempts.loose))
        self._tally.solved(solved, tenant_id=run.claim.account.tenant_id)
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
        match await self._route(run):
            case Route.SINGLE:
                return outcome.DONE
            case Route.STRONG:
                return await self._ask_strong(run)
            case Route.SEARCH:
                return await self._search(run)

    async def _route(self, run: Run) -> Route:
        match run.request.mode:
            case Mode.SEARCH:
                run.decision = Decision(Route.SEARCH, "forced", ["the request asks for a search"])
            case Mode.SINGLE:
                run.decision = Decision(Route.SINGLE, "forced", ["the request asks for one call"])
                await run.ask(FIRST, run.plan.first)
            case Mode.AUTO:
                started = time.perf_counter()
                route = await decide(run)
                run.gate_ms = (time.perf_counter() - started) * 1000
                return route
        return run.decision.route

    async def _ask_strong(self, run: Run) -> Cause:
        if run.plan.strong is None:
            return outcome.refused(BudgetExceeded("request", run.meter.left, run.meter.left))
        strong = await run.ask(STRONG, run.plan.strong)
        run.chosen = choose(run, strong)
        return outcome.DONE

    async def _search(self, run: Run) -> Cause:
        started = time.perf_counter()
        if run.search is None:
            run.search = Search(search_settings(run.request, run.plan))
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
        account: Account,
        request: SolveRequest,
        policy: Policy,
        *,
        key: IdempotencyKey | None,
        left: BudgetExceeded | None = None,
    ) -> Run:
        plan = planner.make(request, policy, self._bench.experts, left=left)
        made = solve_id()
        opening = Opening(
            solve_id=made,
            account=account,
            cap=plan.cap,
            first_hold=plan.first_hold,
            request=to_document(request),
            plan=to_document(plan),
            owner=self._owner,
            first=_first(made, request, plan),
            idempotency=key,
        )
        panel = _panel(request)  # may refuse, so before anything is held
        holding = asyncio.ensure_future(self._ledger.hold(opening))
        try:
            await uninterrupted(holding)
        except asyncio.CancelledError:
            if holding.exception() is None:  # held for a client that has left meanwhile
                run = self._start(holding.result(), request, plan, panel, begun=opening.first)
                await self._finish(run, outcome.CANCELLED)
            raise
        return self._start(holding.result(), request, plan, panel, begun=opening.first)

    def _start(
        self,
        claim: Claim,
        request: SolveRequest,
        plan: Plan,
        panel: Panel | None,
        *,
        meter: Meter | None = None,
        past: Past | None = None,
        begun: Intent | None = None,
    ) -> Run:
        meter = _meter(request, plan, hold=plan.first_hold) if meter is None else meter
        attempts = Attempts(
            claim=claim,
            ledger=self._ledger,
            providers=self._bench.providers,
            meter=meter,
            problem=request.problem,
            seed=request.seed,
            temperature=request.temperature,
            ends_at=asyncio.get_running_loop().time() + plan.deadline_s,
            past=past,
            begun=begun,
            last=FIRST if _ends_with_its_first_call(claim, request) else None,
        )
        return Run(claim, request, plan, meter, attempts, panel, started_at_s=time.time())


def _account(tenant: Tenant) -> Account:
    return Account(tenant.id, tenant.key_id, tenant.project_id)


def _ends_with_its_first_call(claim: Claim, request: SolveRequest) -> bool:
    """Whether nothing comes between the answer and the end: it is not even scored.

    What has no client may be left to another process in between, and so is written down at once.
    """
    detached = request.background or claim.token > 1
    return request.mode is Mode.SINGLE and request.panel is None and not detached


def _first(solve: SolveId, request: SolveRequest, plan: Plan) -> Intent | None:
    if request.mode is Mode.SEARCH:
        return None  # which expert it starts with, the search will say
    if request.background:
        return None  # left to another process before it was made, it would seem to have been
    return intent_for(solve, FIRST, 1, plan.first, fresh(request, plan.first.expert))


def _panel(request: SolveRequest) -> Panel | None:
    asked = request.panel
    return None if asked is None else Panel(asked.evaluators, asked.combine)


def _meter(
    request: SolveRequest,
    plan: Plan,
    *,
    hold: NanoUSD,
    spent: NanoUSD = NanoUSD(0),
    past: Past | None = None,
) -> Meter:
    return Meter(
        cap=plan.cap,
        hold=hold,
        tokens_max=request.limits.max_total_tokens,
        calls_max=request.limits.max_calls,
        spent=spent,
        tokens=0 if past is None else tokens_of(past, request),
        calls=0 if past is None else len(past.lines),
    )
