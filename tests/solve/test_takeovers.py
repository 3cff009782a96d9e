"""A solve that is taken over from a process that only seemed dead, or that lost its stores."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from app.db.engine import Database
from app.ids import SolveId, solve_id
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.postings import CallState
from app.ledger.records import CallRecord, SolveRecord
from app.ledger.refusals import ClaimLost
from app.ledger.tables import Call
from app.money import NanoUSD
from app.providers.scripted import held, reply
from app.search.codec import encode
from app.search.events import Asked
from app.search.search import Search
from app.solve import plan as planner
from app.solve.engine import search_settings
from app.solve.request import Mode, SolveRequest, Turn, to_document
from app.solve.tree import reopen
from app.store.treelog import TreeLog
from app.wiring import open_redis
from tests.backends import opened
from tests.gateway import Json, exact, fathom
from tests.ledger.books import ending
from tests.simulation.clients import PANEL
from tests.simulation.yard import EXPERTS, POLICY
from tests.solve.detached import begin

SEARCH: Json = {"mode": "search", "search": {"concurrency": 2, "max_nodes": 64}} | exact("391")


async def _until_booked(database: Database, count: int) -> None:
    query = select(func.count()).where(Call.late_cost.is_not(None))
    async with asyncio.timeout(20):
        while True:
            async with database.read() as tx:
                if await tx.scalar(query) == count:
                    return
            await asyncio.sleep(0.02)


async def test_answer_that_comes_after_a_takeover_is_nobodys(database_url: str) -> None:
    """It is the operator's loss, and no node of the tree: the new owner's journal has none."""
    release = asyncio.Event()
    async with (
        fathom(database_url, held(release, reply("8"))) as running,
        opened(database_url) as database,
    ):
        location = (await begin(running.client, SEARCH)).headers["Location"]
        await running.provider.arrived(2)
        leases = Leases(database, replica="another", lease_s=0.0)  # to which nobody lives
        taken = await leases.claim(most=1, running=[])
        release.set()
        await _until_booked(database, 2)
        tree = await running.client.get(f"{location}/tree")
        assert (tree.status_code, tree.json()["nodes"]) == (200, [])
        await Ledger(database).finish(taken[0], ending("failed"))


async def test_solve_that_has_ended_meanwhile_is_not_resumed(database_url: str) -> None:
    """Whoever was slow to take it up finds its texts erased; the claim is lost, nothing else is."""
    async with (
        fathom(database_url, held(asyncio.Event(), reply("8"))) as running,
        opened(database_url) as database,
    ):
        await begin(running.client, SEARCH)
        await running.provider.arrived(2)
        taken = await Leases(database, replica="another", lease_s=0.0).claim(most=1, running=[])
        await Ledger(database).finish(taken[0], ending("failed", erase=True))
        with pytest.raises(ClaimLost):
            await running.gateway.services.solver.resume(taken[0])


def _call(solve: SolveId, asked: Asked) -> CallRecord:
    return CallRecord(
        id=f"{solve}:t{asked.trial.id}:1",
        solve_id=solve,
        prompt_sha256="0" * 64,
        op=f"t{asked.trial.id}",
        attempt=1,
        state=CallState.ORPHAN,
        expert=asked.trial.expert,
        expert_version="00000000",
        model="any",
        price_version="prc_0000000000000000",
        cost=NanoUSD(0),
        estimated=False,
        input_tokens=None,
        output_tokens=None,
        finish_reason=None,
        ask=asked.trial.id,
        parent=asked.trial.parent,
        asked_seq=asked.seq,
        propensity=asked.probability,
        widen=asked.widen,
        told_seq=None,
        score=None,
        abandoned=None,
        error=None,
    )


async def test_journal_is_believed_where_the_log_is_behind_it() -> None:
    """The tree store was out of reach while the search went on."""
    async with open_redis(None) as redis:
        tree_log = TreeLog(redis)
        request = SolveRequest(turns=(Turn("user", "?"),), seed=1, mode=Mode.SEARCH, panel=PANEL)
        plan = planner.make(request, POLICY, EXPERTS)
        search = Search(search_settings(request, plan))
        search.ask()
        search.ask()
        made = solve_id()
        await tree_log.append(made, token=1, seq=1, event=encode(search.log[0]))
        record = SolveRecord(
            id=made,
            state="in_progress",
            created_at=datetime.now(UTC),
            completed_at=None,
            cap=plan.cap,
            hold=plan.cap,
            posted=NanoUSD(0),
            result=None,
            request=to_document(request),
            plan=to_document(plan),
            inherited=None,
            resumed_from=None,
            replay_of=None,
        )
        calls = [_call(made, event) for event in search.log if isinstance(event, Asked)]
        reopened = await reopen(tree_log, record, calls)
        assert reopened is not None
        assert reopened.log == search.log
