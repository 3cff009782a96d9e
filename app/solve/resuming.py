"""Going on with a solve that has ended: its tree, its request, a new budget.

What was paid for is taken over and not asked again: the nodes of its search; answers that came too
late to be told to it; and where there was no search, the answers that would have been its first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.errors import GatewayError, InvalidRequest
from app.evaluators.panel import Panel
from app.ledger.idempotency import IdempotencyKey
from app.ledger.ledger import Ledger
from app.ledger.records import CallRecord, Records, SolveRecord
from app.providers.completion import Provider
from app.search.search import Search
from app.solve.archive import Archive, Archived
from app.solve.attempt import Past, Reply
from app.solve.engine import settings_of
from app.solve.legacy import Legacy, legacy_from
from app.solve.past import past_of, plan_from
from app.solve.request import Limits, Mode, SearchOptions, SolveRequest, Webhook, request_from
from app.solve.run import evaluated
from app.solve.tree import inherited_log, node_calls, rebuild
from app.tenants.directory import Tenant

NODES_MAX: Final = 512
"""Of a tree, however often it is resumed."""


class SolveInProgress(GatewayError):
    """The solve has not ended; what is asked of it needs its end."""


class NotResumable(GatewayError):
    """There is nothing to go on from, or no reason to."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How to go on. Bounds of the search that are None stay as they were.

    `max_nodes` counts the whole tree; None allows as many more as the first time.
    """

    limits: Limits
    max_nodes: int | None = None
    max_depth: int | None = None
    concurrency: int | None = None
    target_score: float | None = None
    patience: int | None = None
    background: bool = False
    webhook: Webhook | None = None


class Resuming:
    """Prepares what the solver is to go on with; holds nothing and changes nothing."""

    def __init__(
        self,
        *,
        archive: Archive,
        ledger: Ledger,
        records: Records,
        providers: Mapping[str, Provider],
    ) -> None:
        self._archive, self._ledger, self._records = archive, ledger, records
        self._providers = providers

    async def prepare(
        self, tenant: Tenant, solve_id: str, wish: Wish, *, key: IdempotencyKey | None
    ) -> tuple[SolveRequest, Legacy]:
        """The request to admit and what its search starts from.

        Raises NoSuchSolve for another tenant's; SolveInProgress; NotResumable where the texts were
        erased, nothing was scored, it deliberated, or the target is reached; InvalidRequest where
        the wish leaves no room for a node; AlreadyAsked or IdempotencyKeyReused for a `key` that is
        known.
        """
        await self._ledger.refuse_repeat(tenant.id, key)
        found = await self._archive.find(tenant, solve_id)
        if found.solved is None:
            raise SolveInProgress(f"{solve_id} has not ended; cancel it or wait for its end")
        if found.record.request is None or found.record.plan is None:
            raise NotResumable(f"the texts of {solve_id} were erased")
        request, plan = request_from(found.record.request), plan_from(found.record.plan)
        if request.panel is None:
            raise NotResumable(f"{solve_id} has no evaluator that a search could climb by")
        inherited = await self._records.inherited(found.record.id)
        past = past_of(plan, found.calls, found.texts)
        legacy = _legacy(found.record, inherited, found.texts)
        base = inherited_log(found.record)
        decision = found.solved.decision
        route = None if decision is None else decision.route
        settings = settings_of(request, plan, route=route, inherited=len(base))
        search = rebuild(settings, found.calls, base)
        if not isinstance(search, Search):
            raise NotResumable(f"{solve_id} deliberated, and has no tree that a search could grow")
        behind = node_calls(search, found.calls, inherited)
        replies = [] if legacy is None else list(legacy.replies)
        replies += [past.replies[call.op] for call in behind[len(replies) :]]
        replies += await self._take_in(search, request, past, found, planted=replies)
        best = None if search.best is None else search.nodes[search.best - 1].score
        wanted = _wanted(request, wish, nodes=len(search.nodes))
        if best is None:
            raise NotResumable(
                f"no answer of {solve_id} was scored: there is no tree to go on with"
            )
        if best >= wanted.search.target_score:
            raise NotResumable(f"{solve_id} has reached its target")
        return wanted, Legacy(found.record.id, tuple(search.log), tuple(replies))

    async def _take_in(
        self,
        search: Search,
        request: SolveRequest,
        past: Past,
        found: Archived,
        *,
        planted: Sequence[Reply],
    ) -> list[Reply]:
        """Tell the search of every answer that was paid for and never told; the nodes' replies."""
        assert request.panel is not None, "checked before"
        panel = Panel(request.panel.evaluators, request.panel.combine)
        taken: list[Reply] = []
        for trial in search.in_flight:
            if (reply := past.replies.get(f"t{trial.id}")) is None:
                continue
            score = (await evaluated(reply, request, panel, self._providers)).score
            if score is None:
                search.abandon(trial.id, reply.cost, "the evaluator gave no score")
            else:
                search.tell(trial.id, score, reply.cost)
                taken.append(reply)
        known = {reply.op for reply in planted}
        given = [call.op for call in found.calls if call.ask is None and call.op in past.replies]
        for reply in (past.replies[op] for op in given if op not in known):
            score = (await evaluated(reply, request, panel, self._providers)).score
            if score is not None:
                search.adopt(reply.seat.expert.name, score, reply.cost)
                taken.append(reply)
        return taken


async def stored_legacy(
    records: Records, record: SolveRecord, texts: Mapping[str, str]
) -> Legacy | None:
    """What the solve took over when it was admitted, if it resumes another."""
    return _legacy(record, await records.inherited(record.id), texts) if record.inherited else None


def _legacy(
    record: SolveRecord, calls: Sequence[CallRecord], texts: Mapping[str, str]
) -> Legacy | None:
    if record.inherited is None or record.resumed_from is None:
        return None
    return legacy_from(record.resumed_from, record.inherited, calls, texts)


def _wanted(request: SolveRequest, wish: Wish, *, nodes: int) -> SolveRequest:
    before = request.search
    max_nodes = wish.max_nodes
    if max_nodes is None:
        max_nodes = min(NODES_MAX, nodes + before.max_nodes)
    if max_nodes <= nodes:
        raise InvalidRequest(
            "search.max_nodes", f"the tree has {nodes} nodes; allow more than that"
        )
    search = SearchOptions(
        algorithm=before.algorithm,
        max_nodes=max_nodes,
        max_depth=_or(wish.max_depth, before.max_depth),
        concurrency=before.concurrency if wish.concurrency is None else wish.concurrency,
        target_score=before.target_score if wish.target_score is None else wish.target_score,
        patience=_or(wish.patience, before.patience),
        score_value=before.score_value,
    )
    return replace(
        request,
        mode=Mode.SEARCH,
        search=search,
        limits=wish.limits,
        background=wish.background,
        webhook=wish.webhook,
    )


def _or(wished: int | None, before: int) -> int:
    return before if wished is None else wished
