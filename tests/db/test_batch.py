"""Callers who come together share a transaction; a failure stays with whom it concerns."""

import asyncio
from collections.abc import Sequence

import pytest

from app.db.batch import TOGETHER_MAX, Batch, Batches


class Refused(Exception):
    """An item that cannot be done, and undoes all that is done with it."""


class Doubling:
    """Doubles numbers together, when it is let; refuses negative ones, as a CHECK would."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Semaphore(0)
        self.may_go_on = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        """Twice each."""
        self.batches.append(list(numbers))
        self.begun.release()
        await self.may_go_on.wait()
        if min(numbers) < 0:
            raise Refused(min(numbers))
        return [2 * number for number in numbers]


async def submitted(batch: Batch[int, int], *numbers: int) -> list["asyncio.Task[int]"]:
    """One task a number, each as far as it comes by itself."""
    tasks = [asyncio.create_task(batch.submit(number)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def test_who_comes_while_one_runs_shares_the_next() -> None:
    """The first waits for nobody; the rest wait for it once, and each has its own result."""
    work = Doubling()
    tasks = await submitted(Batch(work), 1, 2, 3, 4)
    work.may_go_on.set()
    assert [await task for task in tasks] == [2, 4, 6, 8]
    assert work.batches == [[1], [2, 3, 4]]


async def test_a_batch_is_bounded() -> None:
    """So that no transaction grows with the crowd."""
    work = Doubling()
    work.may_go_on.set()
    batch = Batch(work)
    crowd = range(3 * TOGETHER_MAX)
    assert await asyncio.gather(*map(batch.submit, crowd)) == [2 * n for n in crowd]
    assert max(map(len, work.batches)) == TOGETHER_MAX


async def test_one_that_cannot_be_done_fails_alone() -> None:
    """The others are done as if it had never come."""
    work = Doubling()
    tasks = await submitted(Batch(work, apart=(Refused,)), 1, 2, -3, 4)
    work.may_go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(one) for one in results] == ["2", "4", "-3", "8"]
    assert isinstance(results[2], Refused)


async def test_any_other_failure_is_everybodys() -> None:
    """A database that is away is not asked again for each of them."""
    work = Doubling()
    tasks = await submitted(Batch(work), 1, 2, -3, 4)
    work.may_go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == 2
    assert all(isinstance(one, Refused) for one in results[1:])
    assert work.batches == [[1], [2, -3, 4]]


async def test_one_cancelled_before_its_turn_is_not_done() -> None:
    """And nobody else notices."""
    work = Doubling()
    first, second, third = await submitted(Batch(work), 1, 2, 3)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    work.may_go_on.set()
    assert (await first, await third) == (2, 6)
    assert work.batches == [[1], [3]]


async def test_one_cancelled_in_its_turn_is_done_for_the_others() -> None:
    """Whoever leads a batch may leave; what it began is ended first."""
    work = Doubling()
    batch = Batch(work)
    (blocking,) = await submitted(batch, 1)
    leading, following = await submitted(batch, 2, 3)
    work.may_go_on.set()
    assert await blocking == 2
    work.may_go_on.clear()
    for _ in range(2):
        await work.begun.acquire()
    leading.cancel()
    work.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await leading
    assert await following == 6
    assert work.batches == [[1], [2, 3]]


async def test_those_under_another_key_do_not_wait() -> None:
    """A crowd at one key shares its batches with nobody."""
    work = Doubling()
    batches = Batches[str, int, int](work)
    tasks = [asyncio.create_task(batches.submit(*one)) for one in (("a", 1), ("a", 2), ("b", 3))]
    for _ in range(2):
        await work.begun.acquire()
    assert work.batches == [[1], [3]]
    work.may_go_on.set()
    assert [await task for task in tasks] == [2, 4, 6]
    assert work.batches == [[1], [3], [2]]
