"""One seed: replicas, clients and faults until everything has ended, and then the rules."""

import asyncio
import gc
import itertools
import random as global_random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from structlog.processors import format_exc_info
from structlog.testing import capture_logs

from app.errors import GatewayError
from app.ids import SolveId
from app.ledger.records import Records
from app.money import from_usd
from app.solve.archive import Archive
from app.store.treelog import TreeLog
from tests.simulation.clients import Clients
from tests.simulation.dialect import Store
from tests.simulation.loop import START_S, VirtualLoop
from tests.simulation.mutants import NONE, Mutant
from tests.simulation.process import Process
from tests.simulation.rules import (
    answers_broken,
    books_broken,
    keys_broken,
    provider_broken,
    trees_broken,
)
from tests.simulation.upstream import Upstream
from tests.simulation.world import Fault, Line, World
from tests.simulation.yard import PRICE, Yard

LEASE_S: Final = 10.0
PROCESSES_MAX: Final = 7
"""After so many a dead one is replaced only where nobody is left: clients wait for somebody."""

CLIENTS_S: Final = 3_600.0
"""By when each client must have heard or given up; ten times what the worst seeds take."""

FAULT_RATES: Final = (0.005, 0.01, 0.02, 0.03, 0.05)
"""Of an effect; some worlds are calmer than others, so that long stories are told as well."""

LIMITS: Final = (*(from_usd("100"),) * 6, from_usd("0.02"))
"""Of a tenant; now and then it has no room for all that is asked at once."""

Trace = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What happened under one seed."""

    seed: int
    effects: Counter[str]
    faults: Counter[Fault]
    violations: list[str]
    solves: int
    replicas: int
    virtual_s: float
    processor_s: float
    """How long it took to tell, in seconds of one processor."""


class Story:
    """A world with replicas and clients in it."""

    def __init__(self, yard: Yard, seed: int, *, mutant: Mutant, trace: Trace | None) -> None:
        self._yard, self._mutant = yard, mutant
        # What is asked and what breaks are drawn apart, so that one does not change the other.
        self._random = Random(f"story {seed}")
        self.world = World(
            random=Random(seed),
            fault_rate=self._random.choice(FAULT_RATES),
            lease_s=LEASE_S,
            trace=trace,
        )
        self.loop = VirtualLoop(self.world.step)
        self.loop.set_exception_handler(self._unheard)
        self.world.now = self.loop.time
        self._began_s = time.process_time()
        self.world.on_death, self.world.on_flush = self._died, self._flush
        self.store = Store(self.world, yard.books)
        self.store.allow(self._random.choice(LIMITS))
        self._upstream = Upstream(self.world, PRICE)
        self._processes: list[Process] = []
        self._clients = Clients(
            self.world,
            self._random,
            store=self.store,
            processes=self._processes,
            of=yard.tenant,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._ids = itertools.count(1)

    async def tell(self) -> None:
        """From the first request to the last rule."""
        for _ in range(self._random.choice([2, 2, 3])):
            self._start()
        try:
            async with asyncio.timeout(CLIENTS_S):
                await self._clients.run()
        except TimeoutError:
            self.world.violated("clients that never hear")
        self.world.settle_down()
        while await self._all_ended() and not await self._judged():
            pass

    async def tear_down(self) -> None:
        """Throw away what is left of the tasks; nothing of them reaches the world any more."""
        self.world.over = True
        me = asyncio.current_task()
        for _ in range(100):
            left = [task for task in asyncio.all_tasks() if task is not me]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0)
        else:
            self.world.violations.append("tasks that cannot be ended")
        for number in range(len(self._processes) + 1):
            slot = self._yard.slot(number)
            await slot.database.aclose()
            await slot.beats.aclose()

    def report(self, seed: int) -> Report:
        """What has happened."""
        world = self.world
        return Report(
            seed=seed,
            effects=world.effects,
            faults=world.faults,
            violations=world.violations,
            solves=next(self._ids) - 1,
            replicas=len(self._processes),
            virtual_s=self.loop.time() - START_S,
            processor_s=time.process_time() - self._began_s,
        )

    def _start(self) -> None:
        number = len(self._processes)
        line = Line(f"r{number}")
        self.world.lines.append(line)
        process = Process(
            self._yard,
            self.world,
            line,
            slot=self._yard.slot(number),
            store=self.store,
            upstream=self._upstream,
            new_id=lambda: SolveId(f"slv_{next(self._ids):04d}"),
            mutant=self._mutant,
        )
        self._processes.append(process)
        self._spawn(process.run(), line.name)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        async def watched() -> None:
            try:
                await coroutine
            except Exception as error:  # noqa: BLE001 - judged by the world
                self.world.failed(name, error)

        self._tasks.append(self.loop.create_task(watched()))

    def _died(self, line: Line) -> None:
        self._processes[self.world.lines.index(line)].gone.set()
        all_dead = all(process.line.dead for process in self._processes)
        if not self.world.over and (all_dead or len(self._processes) < PROCESSES_MAX):
            self._spawn(self._restart(), "a restart")

    async def _restart(self) -> None:
        await asyncio.sleep(self._random.expovariate(1 / 4))
        self._start()

    def _flush(self) -> None:
        self._yard.forget_trees()
        if self.world.random.random() < 0.5:  # a restart forgets its scripts, too
            self._yard.forget_scripts()

    def _unheard(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, GatewayError):
            self.world.failed(context["message"], error or RuntimeError())

    async def _all_ended(self) -> bool:
        give_up_s = self.loop.time() + 30 * LEASE_S
        while self.store.running():
            if self.loop.time() > give_up_s:
                self.world.violated(f"never ended: {self.store.running()}")
            if self.world.violations:
                return False
            await asyncio.sleep(LEASE_S / 3)
        return not self.world.violations

    async def _judged(self) -> bool:
        """Try every rule; False where a process that was paused began a solve meanwhile."""
        slot, line = self._yard.slot(len(self._processes)), Line("auditor")
        slot.ports[0].belong(self.store, line)
        tree_log = TreeLog(slot.redis.belong(self.world, line))
        archive = Archive(records=Records(slot.database), tree_log=tree_log)
        raw, results, before = self.store.raw, self._clients.results, self.store.solves()
        broken = [
            *await books_broken(slot.database),
            *await trees_broken(archive, tree_log, self._yard.tenant, self.store.searches()),
        ]
        if self.store.solves() != before:
            return False
        broken += provider_broken(raw, self._upstream.charges)
        broken += [*answers_broken(raw, results), *keys_broken(raw)]
        for rule in broken:
            self.world.violated(rule)
        return True


def simulate(yard: Yard, seed: int, *, mutant: Mutant = NONE, trace: Trace | None = None) -> Report:
    """Tell the story of a seed, the same every time."""
    yard.forget_trees()
    yard.forget_scripts()
    before = global_random.getstate()
    gc.disable()  # a collection, whenever it came, would cost more than it finds
    global_random.seed(seed)  # the jitter of retries
    story = Story(yard, seed, mutant=mutant, trace=trace)
    asyncio.set_event_loop(story.loop)
    try:
        with capture_logs(processors=[format_exc_info]) as logs:
            try:
                story.loop.run_until_complete(story.tell())
            finally:
                story.loop.run_until_complete(story.tear_down())
    finally:
        asyncio.set_event_loop(None)
        story.loop.close()
        story.store.close()
        global_random.setstate(before)
        gc.enable()
    errors = [f"logged {line}" for line in logs if line["log_level"] == "error"]
    story.world.violations.extend(errors)
    return story.report(seed)
