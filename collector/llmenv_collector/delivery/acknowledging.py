"""Deliveries of one stream that the store has not made durable yet, acknowledged in their order.

There is a task only while there is such a delivery: most streams have none for hours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmenv_collector.delivery.waiting import Delivered

WINDOW = 4


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that is not acknowledged yet."""

    delivery: asyncio.Future[Delivered]
    since: float
    """Monotonic, seconds."""


class Acknowledging:
    """Of one stream; its tasks are of the group that the stream lives in."""

    __slots__ = ("_acknowledge", "_group", "_room", "_task", "_waiting")

    def __init__(
        self, acknowledge: Callable[[Pending], Awaitable[None]], *, group: asyncio.TaskGroup
    ) -> None:
        self._acknowledge = acknowledge
        self._group = group
        self._room = asyncio.Semaphore(WINDOW)
        self._waiting: deque[Pending] | None = None
        self._task: asyncio.Task[None] | None = None

    async def put(self, pending: Pending) -> None:
        """Waits while WINDOW deliveries wait."""
        await self._room.acquire()
        if self._waiting is None:
            self._waiting = deque((pending,))
            self._task = self._group.create_task(self._work(self._waiting))
        else:
            self._waiting.append(pending)

    async def join(self) -> None:
        """Returns when there is none left."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _work(self, waiting: deque[Pending]) -> None:
        while waiting:
            await self._acknowledge(waiting[0])
            waiting.popleft()
            self._room.release()
        self._waiting = self._task = None
