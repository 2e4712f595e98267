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


@dataclass(eq=False, slots=True)
class Stream:
    """One open stream of a spool.  There are ten thousand: what can be one thing is one thing."""

    spool_id: str
    machine_id: str
    start_id: str = ""
    """Of the agent; empty from one that says none."""
    is_pending: bool = False
    """Whether the machine waits for approval."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with one of the next two."""
    is_commanded: bool = True
    """Whether commands of the machine may have changed."""
    is_rescheduled: bool = True
    """Whether other schedules may be for the machine."""
    why: CollectorError | None = None
    """Why it may not go on."""
    _is_over: bool = False
    _ending: asyncio.Future[None] | None = None

    def ending(self) -> asyncio.Future[None]:
        """Done once it may not go on: for the reason in `why`, by approval, or since the collector stops."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_future()
        self._note_ending()
        return self._ending

    def close(self) -> None:
        self._is_over = True
        self._note_ending()

    def end(self, why: CollectorError) -> None:
        """The first reason holds."""
        if self.why is None:
            self.why = why
            self.close()

    def approve(self) -> None:
        """The agent of a machine that waited begins anew."""
        if self.is_pending:
            self.is_pending = False
            self.close()

    def command(self) -> None:
        self.is_commanded = True
        self.news.set()

    def reschedule(self) -> None:
        self.is_rescheduled = True
        self.news.set()

    def _note_ending(self) -> None:
        if self._is_over and self._ending is not None and not self._ending.done():
            self._ending.set_result(None)

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
    def open(
        self, *, spool_id: str, machine_id: str, start_id: str = "", is_pending: bool = False
    ) -> Iterator[Stream]:
        """The newest stream of a spool wins, and that of the newest start of an agent: an older one learns
        that it is superseded.  Two agents that are known to be at work with one identity go on side by side.
        """
        stream = Stream(spool_id, machine_id, start_id, is_pending)
        if self.draining.is_set():
            stream.close()
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

    def drain(self) -> None:
        """The collector is about to stop: every stream ends."""
        self.draining.set()
        for streams in self._open.values():
            for stream in streams:
                stream.close()

    def end(self, machine_id: str, why: CollectorError) -> None:
        """Every open stream of the machine."""
        for stream in self._open.get(machine_id, ()):
            stream.end(why)

    def approve(self, machine_id: str) -> None:
        for stream in self._open.get(machine_id, ()):
            stream.approve()

    def tell(self, machine_ids: Collection[str]) -> None:
        """Commands of these machines have changed in the store."""
        for machine_id in machine_ids:
            for stream in self._open.get(machine_id, ()):
                stream.command()

    def reschedule(self, machine_ids: Collection[str]) -> None:
        """Other schedules are for these machines now."""
        for machine_id in machine_ids:
            for stream in self._open.get(machine_id, ()):
                stream.reschedule()

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
