"""What an agent counts of its delivery since it started: plain numbers, whether anybody asks or not."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Lives in the event loop."""

    streams: int = 0
    """Streams opened, a count: all but the first are reconnects."""
    is_connected: bool = False
    troubles: Counter[str] = field(default_factory=Counter)
    """Ended streams, by the word of connection.Trouble."""
    acknowledged: int = 0
    """Batches, a count."""
    acknowledge_seconds: float = 0.0
    """From sending to acknowledgement, sum over those."""
    _under_way: deque[tuple[int, float]] = field(default_factory=deque)

    def begin(self) -> None:
        self.streams += 1
        self._under_way.clear()

    def welcomed(self) -> None:
        self.is_connected = True

    def ended(self) -> None:
        self.is_connected = False

    def sent(self, last_sequence: int) -> None:
        self._under_way.append((last_sequence, time.monotonic()))

    def was_acknowledged(self, watermark: int) -> None:
        """As soon as the collector's word arrives, in an acknowledgement or in Welcome."""
        while self._under_way and self._under_way[0][0] <= watermark:
            _, since = self._under_way.popleft()
            self.acknowledged += 1
            self.acknowledge_seconds += time.monotonic() - since
