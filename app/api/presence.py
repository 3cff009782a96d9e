"""Whether the client still waits: for one that has left, nothing more is bought."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

CLIENT_LEFT: Final = 499
"""Not of any RFC, and never read by the client it is about: nginx's status, for our own log."""

T = TypeVar("T")


async def while_waiting(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled, to settle, when the client leaves before.

    The request's body must have been read. Servers do not cancel a request by themselves.
    """
    ours = asyncio.current_task()
    assert ours is not None, "called in a task"
    watching = asyncio.create_task(_cancel_when_gone(request, ours))
    try:
        return await work
    except asyncio.CancelledError:
        if watching.done() and ours.uncancel() == 0:
            raise HTTPException(CLIENT_LEFT, "the client has left") from None
        raise
    finally:
        watching.cancel()


async def _cancel_when_gone(request: Request, task: asyncio.Task[object]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    task.cancel()
