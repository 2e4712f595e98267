"""The three clocks that the agent lives by.

`wall` is the time of day: people schedule by it, and it can be set.  `awake` counts while the machine is
awake: how long something took.  `elapsed` goes on through sleep and cannot be set: how long something is ago.
How long the machine slept is what `elapsed` went on more than `awake`.

Python's `time.monotonic` is the awake clock on both systems.  macOS stops CLOCK_UPTIME_RAW in sleep and lets
CLOCK_MONOTONIC_RAW go on (clock_gettime(3)); Linux stops CLOCK_MONOTONIC and lets CLOCK_BOOTTIME go on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# By name, because each system lacks the other's; which pair there is says which system it is.
_AWAKE = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC_RAW)


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """Seconds each; `wall` since 1970, the others since a moment of their own."""

    wall: Callable[[], float] = time.time
    awake: Callable[[], float] = lambda: time.clock_gettime(_AWAKE)
    elapsed: Callable[[], float] = lambda: time.clock_gettime(_ELAPSED)


SYSTEM_CLOCKS = Clocks()


class Span:
    """From its making until it is asked."""

    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._clocks = clocks
        self._awake, self._elapsed = clocks.awake(), clocks.elapsed()

    def awake_seconds(self) -> float:
        return self._clocks.awake() - self._awake

    def slept_seconds(self) -> float:
        """Never negative: two clocks are not read at one moment."""
        return max(0.0, self._clocks.elapsed() - self._elapsed - self.awake_seconds())
