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

from app.evaluators.panel import Panel
from app.gate.gate import Route
from app.ids import solve_id
from app.ledger.budgets import Account
from app.ledger.ledger import Ending, Ledger, Opening
from app.ledger.price import Price
from app.ledger.refusals import BudgetExceeded, LimitReached
from app.money import NanoUSD
from app.providers.completion import Provider
from app.search.search import Search
from app.solve import outcome
from app.solve import plan as planner
from app.solve.attempt import Attempts, CallFailed, uninterrupted
from app.solve.decide import choose, decide
from app.solve.explore import Explorer
from app.solve.meter import Meter
from app.solve.outcome import Cause, conclude
from app.solve.report import Solved
from app.solve.request import Mode, SolveRequest, to_document
from app.solve.run import Decision, Run
from app.solve.tree import search_settings
from app.store.treelog import TreeLog
from app.tenants.directory import Tenant
from app.tenants.policy import Expert, Policy


@dataclass(frozen=True, slots=True)
class Bench:
    """Who can answer: experts at their prices, the providers that reach them, tenants' policies."""

    experts: Mapping[str, tuple[Expert, Price]]
    providers: Mapping[str, Provider]
    policies: Mapping[str, Policy]


class Solver:
    """Carries out solves."""

    def __init__(self, *, ledger: Ledger, tree_log: TreeLog, bench: Bench, owner: str) -> None:
        self._ledger, self._tree_log, self._bench, self._owner = ledger, tree_log, bench, owner

    async def solve(self, tenant: Tenant, request: SolveRequest) -> tuple[Solved, str | None]:
        """Admit the request and run it to its end: the result, and the text of the answer."""
        return await self.run(await self.admit(tenant, request))

    async def admit(self, tenant: Tenant, request: SolveRequest) -> Run:
        """Hold the first amount and store what a run needs, or refuse before any call.

        Raises BudgetExceeded, ExpertNotAllowed or InvalidRequest.
        """
        account = Account(tenant.id, tenant.key_id)
        policy = self._bench.policies[tenant.policy]
        try:
            return await self._open(account, request, policy, available=None)
        except BudgetExceeded as refusal:
            # Less than usual is left: think as deep as that allows, if it allows anything.
            if refusal.scope == "request" or refusal.available <= 0:
                raise
            return await self._open(account, request, policy, available=refusal.available)

    async def run(self, run: Run) -> tuple[Solved, str | None]:
        """Answer, settle, and say how it ended. Cancelled, it still settles."""
        cause = outcome.BROKEN
        try:
            cause = await self._until_it_ends(run)
        except asyncio.CancelledError:
            cause = outcome.CANCELLED
            raise
        finally:
            solved, texts = conclude(run, cause)
            ending = Ending(solved.status, to_document(solved), texts, erase=not run.request.store)
            told = run.attempts.told
            await uninterrupted(self._ledger.finish(run.claim, ending, told=told))
        return solved, texts.get(outcome.ANSWER)

    async def _until_it_ends(self, run: Run) -> Cause:
        try:
            async with asyncio.timeout(run.plan.deadline_s):
                return await self._answer(run)
        except TimeoutError:
            return outcome.DEADLINE
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
                await run.ask("gate.first", run.plan.first)
            case Mode.AUTO:
                started = time.perf_counter()
                route = await decide(run)
                run.gate_ms = (time.perf_counter() - started) * 1000
                return route
        return run.decision.route

    async def _ask_strong(self, run: Run) -> Cause:
        if run.plan.strong is None:
            return outcome.refused(BudgetExceeded("request", run.meter.left, run.meter.left))
        strong = await run.ask("strong", run.plan.strong)
        run.chosen = choose(run, strong)
        return outcome.DONE

    async def _search(self, run: Run) -> Cause:
        started = time.perf_counter()
        names = [seat.expert.name for seat in run.plan.searchers]
        run.search = Search(search_settings(run.request, names))
        explorer = Explorer(run, run.search, tree_log=self._tree_log)
        try:
            await explorer.adopt_answers()
            return outcome.searched(await explorer.explore())
        finally:
            run.search_ms = (time.perf_counter() - started) * 1000

    async def _open(
        self,
        account: Account,
        request: SolveRequest,
        policy: Policy,
        *,
        available: NanoUSD | None,
    ) -> Run:
        plan = planner.make(request, policy, self._bench.experts, available=available)
        opening = Opening(
            solve_id=solve_id(),
            account=account,
            cap=plan.cap,
            first_hold=plan.first_hold,
            request=to_document(request),
            plan=to_document(plan),
            owner=self._owner,
        )
        claim = await self._ledger.hold(opening)
        meter = Meter(
            cap=plan.cap,
            hold=plan.first_hold,
            tokens_max=request.limits.max_total_tokens,
            calls_max=request.limits.max_calls,
        )
        attempts = Attempts(
            claim=claim,
            ledger=self._ledger,
            providers=self._bench.providers,
            meter=meter,
            problem=request.problem,
            seed=request.seed,
            temperature=request.temperature,
            ends_at=asyncio.get_running_loop().time() + plan.deadline_s,
        )
        panel = (
            None
            if request.panel is None
            else Panel(request.panel.evaluators, request.panel.combine)
        )
        return Run(claim, request, plan, meter, attempts, panel, started_at_s=time.time())
