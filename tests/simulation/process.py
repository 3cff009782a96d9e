"""One replica of the gateway, wired as `app.wiring` does it, to the simulated world."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from app.db.engine import DatabaseUnavailable
from app.dispatch.background import Background
from app.dispatch.turns import Bounds, Turns
from app.ids import SolveId
from app.ledger.failed_claims import FailedClaims
from app.ledger.idempotency import IdempotencyKey
from app.ledger.journal import CallResult, Intent
from app.ledger.leases import Leases
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim
from app.ledger.postings import Share
from app.ledger.records import Records
from app.solve.archive import Archive
from app.solve.cancelling import Cancelling
from app.solve.giving_up import GivingUp
from app.solve.recover import Recovery
from app.solve.report import Solved
from app.solve.request import SolveRequest
from app.solve.running import Running
from app.solve.solver import Solver
from app.solve.start import Bench
from app.solve.tally import Tally
from app.telemetry.readiness import Drain
from tests.simulation.dialect import Store
from tests.simulation.mutants import Mutant
from tests.simulation.upstream import Reach, Upstream
from tests.simulation.world import Fault, Line, World
from tests.simulation.yard import EXPERTS, POLICY, PROVIDER, Slot, Yard


class Repeating(Ledger):
    """A ledger that now and then is told an outcome twice, the second time at any later time."""

    def __init__(self, slot: Slot, world: World, store: Store) -> None:
        super().__init__(slot.database)
        self._world, self._store = world, store
        self.repeats: set[asyncio.Task[None]] = set()

    async def settle_call(self, claim: Claim, intent: Intent, result: CallResult) -> Share | None:
        """Book it, and perhaps once more."""
        split = await super().settle_call(claim, intent, result)
        if not self._world.calm and self._world.random.random() < 0.03:
            self._world.note(Fault.REPEAT, intent.call_id)
            self.repeats.add(asyncio.create_task(self._again(claim, intent, result)))
        return split

    async def _again(self, claim: Claim, intent: Intent, result: CallResult) -> None:
        await asyncio.sleep(self._world.random.expovariate(1 / 2))
        paid = self._store.paid_for(intent.call_id)
        try:
            await super().settle_call(claim, intent, result)
        except DatabaseUnavailable:
            return
        except Exception as error:  # noqa: BLE001 - judged by the world
            self._world.failed("an outcome reported again", error)
        else:
            # What is told says too little: after an outage it is what was paid at first.
            if self._store.paid_for(intent.call_id) != paid:
                self._world.violated(f"{intent.call_id} was charged again")


class Process:
    """A replica and the tasks in it."""

    def __init__(
        self,
        yard: Yard,
        world: World,
        line: Line,
        *,
        slot: Slot,
        store: Store,
        upstream: Upstream,
        new_id: Callable[[], SolveId],
        mutant: Mutant,
    ) -> None:
        self.line, self._world = line, world
        self.gone = asyncio.Event()
        for port, rewrite in zip(slot.ports, (mutant.ledger, mutant.leases), strict=True):
            port.belong(store, line, rewrite=rewrite, checks=mutant.checks)
        tree_log = mutant.tree_log(slot.redis.belong(world, line))
        records, running = Records(slot.database), Running()
        self._ledger = Repeating(slot, world, store)
        self.solver = Solver(
            ledger=self._ledger,
            records=records,
            tree_log=tree_log,
            bench=Bench(EXPERTS, {PROVIDER: Reach(upstream, line)}, {POLICY.name: POLICY}),
            tally=Tally(yard.metrics),
            running=running,
            owner=line.name,
            new_id=new_id,
        )
        self._leases = Leases(slot.beats, replica=line.name, lease_s=world.lease_s)
        self._drain = Drain()
        self._recovery = Recovery(
            solver=self.solver,
            leases=self._leases,
            running=running,
            giving_up=GivingUp(
                ledger=self._ledger,
                records=records,
                claims=FailedClaims(slot.database),
                tally=Tally(yard.metrics),
            ),
            turn=lambda claim: self._turns.turn(claim.account.tenant_id, waits_for_ever=True),
            drain=self._drain,
        )
        archive = Archive(records=records, tree_log=tree_log)
        self.cancelling = Cancelling(ledger=self._ledger, archive=archive, running=running)
        self._tenant = yard.tenant
        self._turns = Turns(Bounds(running=64, waiting=64, low=8), metrics=yard.queueing)
        self.background: Background | None = None
        self._handlers: set[asyncio.Task[Solved | None]] = set()

    @property
    def serves(self) -> bool:
        """Whether requests can be sent here."""
        return not (self.line.dead or self._drain.begun) and self.background is not None

    async def run(self) -> None:
        """Live until drained; dead, it never returns."""
        try:
            await self._leases.beat()
        except DatabaseUnavailable:  # a process that cannot start ends
            self._world.kill(self.line)
            return
        recovering = asyncio.create_task(self._recovery.run())
        async with asyncio.TaskGroup() as tasks:
            self.background = Background(
                solver=self.solver, turns=self._turns, weights={}, tasks=tasks, most=8
            )
            while not self.line.drained:  # noqa: ASYNC110 - the world is told nothing of loops
                await asyncio.sleep(1)
            self._drain.begun = True
            while self._handlers:
                await asyncio.wait(self._handlers)
            await self.background.hand_over(within_s=self._world.lease_s)
            await self._recovery.hand_over(within_s=self._world.lease_s)
        recovering.cancel()
        await asyncio.wait([recovering])
        with suppress(DatabaseUnavailable):
            await self._leases.leave()
        self._world.kill(self.line)

    def begin(
        self, request: SolveRequest, key: IdempotencyKey | None
    ) -> asyncio.Task[Solved | None]:
        """Handle a request, as a task of its connection."""
        handler = asyncio.create_task(self._handle(request, key))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        return handler

    async def _handle(self, request: SolveRequest, key: IdempotencyKey | None) -> Solved | None:
        if not request.background:
            return (await self.solver.solve(self._tenant, request, key=key))[0]
        assert self.background is not None, "it serves"
        await self.background.begin(self._tenant, request, key=key)
        return None
