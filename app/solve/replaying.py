"""A solve made again from its record: gate and search decide anew, and no model is called.

The same code runs as the first time, with room for no call: what is not in the record is refused
before it is made. Whatever comes out differently is a divergence, and not an answer.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.errors import GatewayError
from app.evaluators.panel import Panel
from app.gate.gate import Route
from app.gate.stack import Stack
from app.ids import solve_id as new_id
from app.ledger.budgets import Account
from app.ledger.endings import Ending
from app.ledger.idempotency import IdempotencyKey
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim, Opening
from app.ledger.postings import CallState
from app.ledger.records import CallRecord, Records
from app.ledger.refusals import BudgetExceeded, LimitReached
from app.money import NanoUSD
from app.providers.completion import ProviderUnavailable
from app.search.events import UnreadableLog
from app.search.trial import StopReason
from app.solve import outcome
from app.solve.archive import Archive, Archived, ResultErased
from app.solve.attempt import FIRST, STRONG, Attempts, CallFailed
from app.solve.choosing import choose
from app.solve.engine import engine_from, settings_of
from app.solve.legacy import Legacy
from app.solve.meter import Meter
from app.solve.outcome import ANSWER, Cause, conclude
from app.solve.past import past_of, plan_from
from app.solve.plan import Plan
from app.solve.prompts import fingerprint, fresh
from app.solve.report import Solved, Status
from app.solve.request import SolveRequest, request_from, to_document
from app.solve.resuming import SolveInProgress, stored_legacy
from app.solve.retrace import ReplayDivergence, Retracing
from app.solve.run import Run
from app.solve.solver import DAY_S, Solver
from app.solve.tree import inherited_log, node_calls, rebuild
from app.tenants.directory import Tenant

NOTHING: Final = NanoUSD(0)

OWNER: Final = "replay"
"""Who ran it: it is over with the transaction that writes it down, so nobody takes it over."""

FROM_OUTSIDE: Final = ("budget", "deadline")
"""What ended a run by no decision of its own, as the record has it."""


class NotReplayable(GatewayError):
    """The solve gave no answer, or is itself a replay."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A solve as its run left it."""

    found: Archived
    solved: Solved
    request: SolveRequest
    plan: Plan
    legacy: Legacy | None


class Replaying:
    """Makes recorded solves again, and writes down that it did."""

    def __init__(
        self, *, archive: Archive, ledger: Ledger, records: Records, solver: Solver
    ) -> None:
        self._archive, self._ledger, self._records = archive, ledger, records
        self._solver = solver

    async def replay(
        self,
        tenant: Tenant,
        solve_id: str,
        *,
        metadata: Mapping[str, str],
        key: IdempotencyKey | None,
    ) -> tuple[Solved, Mapping[str, str], Archived]:
        """The replay's result, the texts it may tell, and the solve that was replayed.

        Raises NoSuchSolve for another tenant's; SolveInProgress, ResultErased, NotReplayable;
        ReplayDivergence where anything comes out differently; AlreadyAsked or IdempotencyKeyReused
        for a `key` that is known.
        """
        await self._ledger.refuse_repeat(tenant.id, key)
        record = await self._read(tenant, solve_id)
        account = Account(tenant.id, tenant.key_id, tenant.project_id)
        model = await self._solver.learned.model_of(record.plan)
        run = _run(record, Claim(new_id(), account, token=1), self._ledger, model)
        run.providers = self._solver.providers  # for recorded scores; none of them is called
        try:
            cause = await self._again(run, record)
        except UnreadableLog as error:
            raise ReplayDivergence(f"the recorded search cannot follow: {error}") from error
        made, texts = conclude(run, cause)
        _compare(run, made, texts, record)
        solved = replace(
            made,
            calls=(),
            cap=NOTHING,
            limited_by=record.solved.limited_by,
            metadata=metadata,
            resumed_from=None,
            replay_of=record.solved.id,
            replayed=record.solved.calls,
        )
        await self._write_down(run, record, solved, texts, key=key)
        return solved, texts, record.found

    async def _read(self, tenant: Tenant, solve_id: str) -> _Record:
        found = await self._archive.find(tenant, solve_id)
        if found.solved is None:
            raise SolveInProgress(f"{solve_id} has not ended; cancel it or wait for its end")
        if found.record.request is None or found.record.plan is None:
            raise ResultErased(f"the texts of {solve_id} were erased")
        if found.record.replay_of is not None:
            raise NotReplayable(f"{solve_id} is itself a replay, of {found.record.replay_of}")
        if found.solved.status not in {Status.COMPLETED, Status.INCOMPLETE}:
            raise NotReplayable(f"{solve_id} was {found.solved.status}: it has no answer to repeat")
        legacy = await stored_legacy(self._records, found.record, found.texts)
        request, plan = request_from(found.record.request), plan_from(found.record.plan)
        return _Record(found, found.solved, request, plan, legacy)

    async def _again(self, run: Run, record: _Record) -> Cause:
        try:
            match await self._solver.route(run):
                case Route.SINGLE:
                    return outcome.DONE
                case Route.STRONG:
                    return await self._solver.ask_strong(run)
                case Route.SEARCH | Route.PARALLEL:
                    return await self._explore(run, record)
        except (BudgetExceeded, LimitReached):
            return _as_recorded(run, record.solved)
        except CallFailed as failure:
            return outcome.upstream(failure)

    async def _explore(self, run: Run, record: _Record) -> Cause:
        base = inherited_log(record.found.record)
        route = None if run.decision is None else run.decision.route
        settings = settings_of(run.request, run.plan, route=route, inherited=len(base))
        recorded = rebuild(settings, record.found.calls, base).log
        run.search = engine_from(settings, base)
        prompts = {call.op: call.prompt_sha256 for call in record.found.calls}
        retracing = Retracing(run, run.search, prompts=prompts)
        await retracing.retrace(recorded)
        reason = record.solved.stop_reason
        if reason is not None and reason in set(StopReason):
            return outcome.searched(retracing.stop(reason).reason)
        return _as_recorded(run, record.solved)

    async def _write_down(
        self,
        run: Run,
        record: _Record,
        solved: Solved,
        texts: Mapping[str, str],
        *,
        key: IdempotencyKey | None,
    ) -> None:
        of = record.found.record.id
        behind: list[CallRecord] = []
        if run.search is not None:
            inherited = await self._records.inherited(of)
            behind = node_calls(run.search, record.found.calls, inherited)
        replies = tuple(run.attempts.replies[call.op] for call in behind)
        log = () if run.search is None else tuple(run.search.log)
        opening = Opening(
            solve_id=run.claim.solve_id,
            account=run.claim.account,
            cap=NOTHING,
            first_hold=NOTHING,
            request=to_document(replace(run.request, metadata=solved.metadata)),
            plan=to_document(run.plan),
            owner=OWNER,
            idempotency=key,
            inheritance=Legacy(of, log, replies).inheritance(is_replay=True),
        )
        route = None if solved.decision is None else solved.decision.route
        ending = Ending(
            solved.status, route, to_document(solved), texts, keep_s=run.plan.texts_days * DAY_S
        )
        await self._ledger.record(opening, ending)


def _run(record: _Record, claim: Claim, ledger: Ledger, model: Stack | None) -> Run:
    request, plan, calls = record.request, record.plan, record.found.calls
    past = past_of(plan, calls, record.found.texts)
    past = replace(past, failed=_failed(calls))
    meter = Meter(cap=NOTHING, hold=NOTHING, calls_max=0)
    attempts = Attempts(
        claim=claim,
        ledger=ledger,
        providers={},
        meter=meter,
        problem=request.problem,
        seed=request.seed,
        temperature=request.temperature,
        ends_at=asyncio.get_running_loop().time() + plan.deadline_s,
        past=past if record.legacy is None else record.legacy.past(past),
    )
    asked = request.panel
    panel = None if asked is None else Panel(asked.evaluators, asked.combine)
    return Run(
        claim,
        request,
        plan,
        meter,
        attempts,
        panel,
        time.time(),
        legacy=record.legacy,
        model=model,
    )


def _failed(calls: Sequence[CallRecord]) -> dict[str, CallFailed]:
    # In order of attempts: an op that was answered, or cut short, in the end did not fail.
    last = {call.op: call for call in calls}
    spent = {op: sum(call.cost for call in calls if call.op == op) for op in last}
    return {
        op: CallFailed(
            ProviderUnavailable(call.error or "", may_have_worked=True),
            call_id=call.id,
            cost=NanoUSD(spent[op]),
        )
        for op, call in last.items()
        if call.state is CallState.FAILED
    }


def _as_recorded(run: Run, recorded: Solved) -> Cause:
    """The end that the record has, where it came from outside; else a call is missing there."""
    if recorded.stop_reason not in {*FROM_OUTSIDE, None}:
        raise ReplayDivergence("a call is made that is not in the record")
    if recorded.stop_reason == "deadline":
        for answer in run.take_late():
            if answer.reply.op == STRONG:
                run.chosen = choose(run, answer)
    return Cause(recorded.stop_reason, recorded.incomplete_reason)


def _compare(run: Run, made: Solved, texts: Mapping[str, str], record: _Record) -> None:
    answered = {answer.reply.op for answer in run.answers}
    for call in record.found.calls:
        if call.state is CallState.OK and call.op not in answered:
            raise ReplayDivergence(f"the recorded call {call.op} is not made any more")
        seat = {FIRST: run.plan.first, "gate.second": run.plan.second, STRONG: run.plan.strong}.get(
            call.op
        )
        if seat is not None and call.prompt_sha256 != fingerprint(fresh(run.request, seat.expert)):
            raise ReplayDivergence(f"{call.op} asks otherwise than the recorded call")
    for name, now, then in zip(_NAMES, _facts(made), _facts(record.solved), strict=True):
        if now != then:
            raise ReplayDivergence(f"its {name} comes out differently")
    if texts.get(ANSWER) != record.found.texts.get(ANSWER):
        raise ReplayDivergence("another answer is chosen")


_NAMES: Final = (
    "status",
    "reason for being incomplete",
    "reason to stop",
    "decision",
    "confidence",
    "search",
    "deliberation",
    "lineage",
    "evaluation",
)


def _facts(solved: Solved) -> tuple[object, ...]:
    made = solved.evaluation
    verdicts = None
    if made is not None:
        items = [(item.id, item.type, item.score, item.error) for item in made.items]
        verdicts = made.score, made.passed, made.combine, items
    return (
        solved.status,
        solved.incomplete_reason,
        solved.stop_reason,
        solved.decision,
        solved.confidence,
        solved.search,
        solved.parallel,
        solved.lineage,
        verdicts,
    )
