"""Whose statement runs next: a few at once, some of them always of others than who asks most.

Whoever runs the fewest comes first, then whoever waited longest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.errors import NoRoomError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AT_ONCE = 4
AT_ONCE_EACH = 2
MOST_WAITING = 32
MOST_WAITING_EACH = 8


@dataclass
class Waiter:
    person: str
    admitted: asyncio.Future[None]


class Turns:
    """Lives in the event loop."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._running: Counter[str] = Counter()
        self._waiting: list[Waiter] = []

    @asynccontextmanager
    async def turn(self, person: str) -> AsyncIterator[None]:
        """Runs while the block does.  Raises NoRoomError when too much waits, or for too long."""
        await self._admitted(person)
        try:
            yield
        finally:
            self._running[person] -= 1
            self._running += Counter()  # which leaves out who runs none
            self._admit()

    async def _admitted(self, person: str) -> None:
        mine = sum(waiter.person == person for waiter in self._waiting)
        if len(self._waiting) >= MOST_WAITING or mine >= MOST_WAITING_EACH:
            raise self._full()
        waiter = Waiter(person, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._admit()
        try:
            async with asyncio.timeout(self._patience_seconds):
                await waiter.admitted
        except BaseException as error:
            self._forget(waiter)
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise

    def _admit(self) -> None:
        while self._running.total() < AT_ONCE:
            able = [
                one
                for one in self._waiting
                if self._running[one.person] < AT_ONCE_EACH and not one.admitted.done()
            ]
            if not able:
                return
            chosen = min(able, key=lambda one: self._running[one.person])
            self._waiting.remove(chosen)
            self._running[chosen.person] += 1
            chosen.admitted.set_result(None)

    def _forget(self, waiter: Waiter) -> None:
        """It left: its place in the line, or the turn that it was given in that moment, is free."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        else:
            self._running[waiter.person] -= 1
            self._admit()

    def _full(self) -> NoRoomError:
        running, waiting = self._running.total(), len(self._waiting)
        return NoRoomError(
            f"{running} statements run and {waiting} wait, at most {AT_ONCE_EACH} of one person at once:"
            " ask again in a moment."
        )
