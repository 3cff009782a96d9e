"""Who asks: clients that send, leave, cancel and try again, as a tenant's programs do."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Final

from app.errors import GatewayError
from app.evaluators.specs import PanelSpec
from app.ledger.idempotency import IdempotencyKey
from app.ledger.refusals import AlreadyAsked
from app.search.settings import Algorithm
from app.solve.report import Solved
from app.solve.request import Limits, Mode, ParallelOptions, SearchOptions, SolveRequest, Turn
from app.tenants.directory import Tenant
from tests.simulation.dialect import Store
from tests.simulation.process import Process
from tests.simulation.rules import PROBLEM
from tests.simulation.world import World

TRIES: Final = 3
"""Of a client that has a key, and so may send again what it got no answer to."""

PANEL: Final = PanelSpec.model_validate(
    {"evaluators": [{"type": "exact", "config": {"expected": "391"}}]}
)


class Clients:
    """The clients of one world; `results` is all that they were told."""

    def __init__(
        self, world: World, random: Random, *, store: Store, processes: list[Process], of: Tenant
    ) -> None:
        self._world, self._random, self._store = world, random, store
        self._processes, self._tenant = processes, of
        self.results: list[Solved] = []

    async def run(self) -> None:
        """Send five solves or more, and cancel some; until each client has heard or given up."""
        draw = self._random
        async with asyncio.TaskGroup() as clients:
            for number in range(draw.choice([5, 5, 6])):
                clients.create_task(self._ask(number))
            for _ in range(draw.choice([0, 0, 1, 2])):
                clients.create_task(self._cancel())

    async def _ask(self, number: int) -> None:
        draw = self._random
        await asyncio.sleep(draw.uniform(0, 3))
        request = self._request(number)
        key = IdempotencyKey(f"key-{number}", "0") if draw.random() < 0.7 else None
        leaves_s = draw.expovariate(1 / 2) if draw.random() < 0.1 else None
        for sent in range(1 if key is None else TRIES):
            # Each sending has a problem of its own, so that a charge tells whose it is.
            name = f"problem {number}.{sent}"
            metadata = {PROBLEM: name} if key is None else {PROBLEM: name, "key": key.key}
            asked = replace(request, turns=(Turn("user", name),), metadata=metadata)
            if await self._send(asked, key, leaves_s):
                return
            await asyncio.sleep(draw.uniform(0, 3))

    def _request(self, number: int) -> SolveRequest:
        draw = self._random
        modes = [Mode.SINGLE, Mode.AUTO, Mode.SEARCH, Mode.PARALLEL]
        mode = draw.choices(modes, [3, 3, 4, 2])[0]
        return SolveRequest(
            turns=(),
            seed=number,
            mode=mode,
            search=SearchOptions(
                algorithm=draw.choice([Algorithm.AB_MCTS_A, Algorithm.FATHOM]),
                max_nodes=draw.randint(4, 8),
                concurrency=draw.choice([1, 2, 3]),
            ),
            parallel=ParallelOptions(
                k=draw.randint(1, 4), passes=draw.randint(0, 2), adaptive=draw.random() < 0.5
            ),
            panel=PANEL if mode is Mode.SEARCH or draw.random() < 0.4 else None,
            limits=Limits(deadline_ms=draw.choice([None, 30_000])),
            background=draw.random() < 0.5,
            store=draw.random() < 0.8,
        )

    async def _send(
        self, request: SolveRequest, key: IdempotencyKey | None, leaves_s: float | None
    ) -> bool:
        """Whether there is nothing more to ask: it was answered, accepted or given up."""
        process = await self._serving()
        handler = process.begin(request, key)
        gone = asyncio.create_task(process.gone.wait())
        done, _ = await asyncio.wait(
            [handler, gone], timeout=leaves_s, return_when=asyncio.FIRST_COMPLETED
        )
        gone.cancel()
        if done:
            return handler in done and self._heard(handler)
        handler.cancel()
        await asyncio.wait([handler], timeout=5)
        return not handler.done() or handler.cancelled() or self._heard(handler) or True

    def _heard(self, handler: "asyncio.Task[Solved | None]") -> bool:
        try:
            solved = handler.result()
        except AlreadyAsked:
            return True
        except GatewayError:
            return False
        except Exception as error:  # noqa: BLE001 - judged by the world
            self._world.failed("a request", error)
            return True
        if solved is not None:
            self.results.append(solved)
        return True

    async def _cancel(self) -> None:
        await asyncio.sleep(self._random.uniform(0.5, 6))
        running = self._store.running()
        if not running:
            return
        process = await self._serving()
        solve_id = self._random.choice(running)
        cancel = asyncio.create_task(process.cancelling.cancel(self._tenant, solve_id))
        await asyncio.wait([cancel], timeout=20)
        if cancel.done() and not isinstance(error := cancel.exception(), GatewayError | None):
            self._world.failed("a cancellation", error)

    async def _serving(self) -> Process:
        while not (able := [one for one in self._processes if one.serves]):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        return self._random.choice(able)
