"""An event loop in which time passes only when nothing else can happen.

Its clock is a number. Whenever every task waits, the loop asks a step function what happens next:
it lets one effect through or moves the clock to the next timer. No thread, socket or real second
takes part, so a run is a function of its seed.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

T = TypeVar("T")

START_S: Final = 1_000.0

Step = Callable[[float | None], float]
"""Given the seconds to the next timer (None: there is none), does something; seconds to pass."""


class _Idle(selectors.SelectSelector):
    """Where a loop waits for the world: here it lets the next thing happen instead."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            self._idle(timeout)
        return []


class OrderedTask(asyncio.Task[T]):
    """A task whose place in a set does not depend on where in memory it lies."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        number: int,
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        # First, for asyncio puts every task into a set when it is made.
        self._number = number
        super().__init__(coroutine, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number

    __eq__ = object.__eq__


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks in the order in which they became ready, by a clock of its own."""

    def __init__(self, step: Step) -> None:
        self._now_s = START_S
        self._step = step
        self._tasks = 0
        super().__init__(_Idle(self._idle))
        self.set_task_factory(self._make_task)  # type: ignore[arg-type] # a task is a future

    def time(self) -> float:
        return self._now_s

    def _idle(self, timeout: float | None) -> None:
        self._now_s += self._step(timeout)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        *,
        context: Context | None = None,
    ) -> OrderedTask[T]:
        self._tasks += 1
        return OrderedTask(coroutine, number=self._tasks, loop=loop, context=context)
