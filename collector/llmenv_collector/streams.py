"""The streams that are open now: who is connected, when they last spoke, and which one counts.

Lives in the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import SupersededError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@dataclass
class Stream:
    """One open stream of a spool."""

    spool_id: str
    machine_id: str
    superseded: asyncio.Event = field(default_factory=asyncio.Event)
    commanded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when commands of the machine have changed."""

    def require_current(self) -> None:
        """Raises SupersededError when a newer stream of the spool has opened."""
        if self.superseded.is_set():
            raise SupersededError("A newer stream of this spool took over.")


class Streams:
    """Every open stream of this process."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        """Set once, when the collector is about to stop."""
        self._by_spool: dict[tuple[str, str], Stream] = {}
        """By machine and spool: another machine that says the same spool id ends nobody's stream."""
        self._connected: Counter[str] = Counter()
        self._last_seen: dict[str, int] = {}

    @contextmanager
    def open(self, *, spool_id: str, machine_id: str) -> Iterator[Stream]:
        """The newest stream of a spool wins: an older one learns that it is superseded."""
        stream = Stream(spool_id=spool_id, machine_id=machine_id)
        key = (machine_id, spool_id)
        former = self._by_spool.get(key)
        if former is not None:
            former.superseded.set()
        self._by_spool[key] = stream
        self._connected[machine_id] += 1
        try:
            yield stream
        finally:
            if self._by_spool.get(key) is stream:
                del self._by_spool[key]
            self._connected[machine_id] -= 1

    def tell(self, machine_ids: Collection[str]) -> None:
        """Commands of these machines have changed in the store."""
        for stream in self._by_spool.values():
            if stream.machine_id in machine_ids:
                stream.commanded.set()

    def saw(self, machine_id: str) -> int:
        """Notes and returns the time, microseconds since 1970."""
        self._last_seen[machine_id] = now = clock.now()
        return now

    def last_seen(self) -> dict[str, int]:
        return dict(self._last_seen)

    def connected(self) -> frozenset[str]:
        """Machines with an open stream."""
        return frozenset(+self._connected)
