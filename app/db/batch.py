"""Many callers, one transaction: whoever comes while one runs shares the next.

Nobody waits for company: a caller alone is a batch of one. Under load a journey to the database,
and a wait for its disk, are shared by all who came meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar
from weakref import WeakValueDictionary

from app.db.engine import uninterrupted

Key = TypeVar("Key")
Item = TypeVar("Item")
Result = TypeVar("Result")

TOGETHER_MAX: Final = 64
"""So many a transaction: a row that all of them change is locked no longer than that takes."""


class Batch(Generic[Item, Result]):
    """Runs `work` on as many items as are waiting, one batch after another.

    Where `work` raises one of `apart`, one item kept all of them from being done; each is then
    done alone, and fails alone. Any other failure is everybody's.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        apart: tuple[type[Exception], ...] = (),
    ) -> None:
        self._work, self._apart = work, apart
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._turn = asyncio.Lock()

    async def submit(self, item: Item) -> Result:
        """The result for `item`; raises what its work raised.

        Cancelled before its turn, it is not done. After that it is, whoever still wants to know.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        try:
            async with self._turn:
                if not future.done():  # else another has taken it along
                    batch = self._waiting[:TOGETHER_MAX]
                    del self._waiting[:TOGETHER_MAX]
                    await uninterrupted(self._run(batch))
        except asyncio.CancelledError:
            self._waiting = [one for one in self._waiting if one[1] is not future]
            future.cancel()
            raise
        result: Result = await future
        return result

    async def _run(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
        except self._apart as failure:
            if len(batch) == 1:
                _fail(batch[0][1], failure)
                return
            for one in batch:
                await self._run([one])
        except Exception as failure:  # noqa: BLE001 - raised by each caller
            for _, future in batch:
                _fail(future, failure)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


class Batches(Generic[Key, Item, Result]):
    """A batch a key, so that a crowd at one shares its transactions and delays nobody else's."""

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        apart: tuple[type[Exception], ...] = (),
    ) -> None:
        self._work, self._apart = work, apart
        # A batch lives as long as somebody waits in it.
        self._batches = WeakValueDictionary[Key, Batch[Item, Result]]()

    async def submit(self, key: Key, item: Item) -> Result:
        """The result for `item`, done with what else is waiting under `key`."""
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = Batch(self._work, apart=self._apart)
        return await batch.submit(item)


def _fail(future: "asyncio.Future[Result]", failure: Exception) -> None:
    if not future.done():
        future.set_exception(failure)
