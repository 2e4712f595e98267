"""The streams that are open now: who is connected, when they last spoke, and which one counts.

Lives in the event loop alone.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.delivery.doubles import Doubles
from llmenv_collector.errors import CollectorError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@dataclass
class Stream:
    """One open stream of a spool."""

    spool_id: str
    machine_id: str
    start_id: str = ""
    """Of the agent; empty from one that says none."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it may not go on, for the reason in `why`."""
    approved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the machine is known to wait for approval no more."""
    commanded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when commands of the machine have changed."""
    rescheduled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when other schedules are for the machine."""

    why: CollectorError | None = None

    def end(self, why: CollectorError) -> None:
        """The first reason holds."""
        if self.why is None:
            self.why = why
            self.ended.set()

    def require_current(self) -> None:
        """Raises SupersededError when a newer stream has taken over, ForbiddenError for a revoked machine."""
        if self.why is not None:
            raise self.why

    def is_of_another_start(self, other: Stream) -> bool:
        return bool(self.start_id and other.start_id) and self.start_id != other.start_id


class Streams:
    """Every open stream of this process."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        """Set once, when the collector is about to stop."""
        self.doubles = Doubles()
        self._open: dict[str, list[Stream]] = {}
        """By machine: another machine that says the same spool id ends nobody's stream."""
        self._last_seen: dict[str, int] = {}

    @contextmanager
    def open(self, *, spool_id: str, machine_id: str, start_id: str = "") -> Iterator[Stream]:
        """The newest stream of a spool wins, and that of the newest start of an agent: an older one learns
        that it is superseded.  Two agents that are known to be at work with one identity go on side by side.
        """
        stream = Stream(spool_id=spool_id, machine_id=machine_id, start_id=start_id)
        self.doubles.arrive(machine_id, start_id)
        is_double = self.doubles.are_at_work(machine_id)
        siblings = self._open.setdefault(machine_id, [])
        for other in siblings:
            if other.spool_id == spool_id or (stream.is_of_another_start(other) and not is_double):
                other.end(SupersededError("A newer stream of this machine took over."))
        siblings.append(stream)
        try:
            yield stream
        finally:
            siblings.remove(stream)
            if not siblings:
                self._open.pop(machine_id, None)
            self.doubles.leave(machine_id, start_id)

    def end(self, machine_id: str, why: CollectorError) -> None:
        """Every open stream of the machine."""
        for stream in self._open.get(machine_id, ()):
            stream.end(why)

    def approve(self, machine_id: str) -> None:
        for stream in self._open.get(machine_id, ()):
            stream.approved.set()

    def tell(self, machine_ids: Collection[str]) -> None:
        """Commands of these machines have changed in the store."""
        for machine_id in machine_ids:
            for stream in self._open.get(machine_id, ()):
                stream.commanded.set()

    def reschedule(self, machine_ids: Collection[str]) -> None:
        """Other schedules are for these machines now."""
        for machine_id in machine_ids:
            for stream in self._open.get(machine_id, ()):
                stream.rescheduled.set()

    def saw(self, machine_id: str) -> int:
        """Notes and returns the time, microseconds since 1970."""
        self._last_seen[machine_id] = now = clock.now()
        return now

    def last_seen(self) -> dict[str, int]:
        return dict(self._last_seen)

    @property
    def count(self) -> int:
        """Open streams."""
        return sum(len(streams) for streams in self._open.values())

    def connected(self) -> frozenset[str]:
        """Machines with an open stream."""
        return frozenset(self._open)
