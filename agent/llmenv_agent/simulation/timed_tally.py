"""How long a virtual agent's records waited for their acknowledgement, and the agent for a stream."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from llmenv_agent.simulation.histogram import Histogram
from llmenv_agent.tally import Tally


@dataclass(frozen=True)
class Content:
    """Of records, counts and bytes."""

    runs: int = 0
    """Ends of runs."""
    measurements: int = 0
    bytes: int = 0

    def __add__(self, other: Content) -> Content:
        return Content(
            self.runs + other.runs, self.measurements + other.measurements, self.bytes + other.bytes
        )


@dataclass
class Reconnects:
    """Times from the loss of a stream, and Unix seconds of the last such moments; 0 where there was none."""

    lost: int = 0
    """Streams that had been welcome and ended."""
    connected: Histogram = field(default_factory=Histogram)
    """Until the collector welcomed the next."""
    drained: Histogram = field(default_factory=Histogram)
    """Until everything was acknowledged that had been spooled by then."""
    last_connected_at: float = 0.0
    last_drained_at: float = 0.0

    def __add__(self, other: Reconnects) -> Reconnects:
        return Reconnects(
            self.lost + other.lost,
            self.connected + other.connected,
            self.drained + other.drained,
            max(self.last_connected_at, other.last_connected_at),
            max(self.last_drained_at, other.last_drained_at),
        )


@dataclass
class TimedTally(Tally):
    """Call `spooled` from any thread, all else from the event loop."""

    watermark: int = 0
    last_spooled: int = 0
    content: Content = Content()
    """Of what was spooled and acknowledged meanwhile."""
    acknowledgement: Histogram = field(default_factory=Histogram)
    """Of each record, from when it was spooled to when the acknowledgement arrived."""
    round_trip: Histogram = field(default_factory=Histogram)
    """Of each batch, from when it was sent."""
    first_connected: Histogram = field(default_factory=Histogram)
    """From the agent's start to its first welcome."""
    reconnects: Reconnects = field(default_factory=Reconnects)
    _began_at: float = field(default_factory=time.monotonic)
    _spooled: deque[tuple[int, int, float, Content]] = field(default_factory=deque)
    """First and last sequence of what was spooled in one transaction, when, and what it is."""
    _lost_at: float | None = None
    _undrained_since: float | None = None
    _drains_to: int | None = None

    def starts(self) -> None:
        """From now on the agent connects."""
        self._began_at = time.monotonic()

    def spooled(self, last_sequence: int, content: Content = Content()) -> None:
        """In one transaction, up to this one."""
        self._spooled.append((self.last_spooled + 1, last_sequence, time.monotonic(), content))
        self.last_spooled = last_sequence

    def welcomed(self) -> None:
        super().welcomed()
        if self._lost_at is not None:
            self.reconnects.connected.add(time.monotonic() - self._lost_at)
        elif not self.first_connected.count:
            self.first_connected.add(time.monotonic() - self._began_at)
        self._lost_at = None
        self._drains_to = self.last_spooled
        self.reconnects.last_connected_at = time.time()

    def ended(self) -> None:
        if self.is_connected:
            self.reconnects.lost += 1
            self._lost_at = time.monotonic()
            self._undrained_since = self._undrained_since or self._lost_at
        super().ended()

    def was_acknowledged(self, watermark: int) -> None:
        now = time.monotonic()
        for last_sequence, since in self._under_way:
            if last_sequence <= watermark:
                self.round_trip.add(now - since)
        super().was_acknowledged(watermark)
        self.watermark = max(self.watermark, watermark)
        self._time_records(watermark, now)
        if self._drains_to is not None and watermark >= self._drains_to:
            self._note_drained(now)

    def _time_records(self, watermark: int, now: float) -> None:
        while self._spooled and self._spooled[0][0] <= watermark:
            first, last, since, content = self._spooled.popleft()
            self.acknowledgement.add(now - since, times=min(last, watermark) - first + 1)
            if last > watermark:
                self._spooled.appendleft((watermark + 1, last, since, content))
            else:
                self.content += content

    def _note_drained(self, now: float) -> None:
        if self._undrained_since is not None:
            self.reconnects.drained.add(now - self._undrained_since)
        self.reconnects.last_drained_at = time.time()
        self._undrained_since = self._drains_to = None
