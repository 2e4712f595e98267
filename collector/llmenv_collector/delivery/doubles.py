"""Two agents with one identity, as after the cloning of a disk: seen by their coming back.

One agent at a time works on a state folder, and each start of it has an id of its own.  A stream of another
start takes over, so whoever still lives connects again.  Two starts that each came back after another one are
alive both.  An agent that was started again never comes back as its former start; a late message, or a
virtual machine put back to an earlier state, comes back alone.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET_SECONDS = 900.0
"""A start without a stream for this long is gone; an agent that lives waits 60 s at most."""
MOST_FORMER = 8


@dataclass
class Starts:
    """Of the agent of one machine.  Times are monotonic."""

    current: str = ""
    former: list[str] = field(default_factory=list)
    returned: dict[str, float] = field(default_factory=dict)
    """Those that came back after another one, and when they were last there."""
    open: Counter[str] = field(default_factory=Counter)

    def arrive(self, start_id: str, now: float) -> None:
        self.open[start_id] += 1
        if start_id in self.former:
            self.returned[start_id] = now
            self.former.remove(start_id)
        if self.current != start_id:
            self.former = [*self.former, self.current][-MOST_FORMER:] if self.current else []
            self.current = start_id

    def leave(self, start_id: str, now: float) -> None:
        self.open[start_id] -= 1
        if start_id in self.returned:
            self.returned[start_id] = now

    def forget_quiet(self, now: float) -> None:
        for start_id, last in tuple(self.returned.items()):
            if self.open[start_id] <= 0 and now - last > QUIET_SECONDS:
                del self.returned[start_id]
        self.open = +self.open


class Doubles:
    """Of every machine of this process.  Lives in the event loop alone."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._machines: dict[str, Starts] = {}

    def arrive(self, machine_id: str, start_id: str) -> None:
        """A stream has opened.  An agent that does not say which start it is is not looked at."""
        if start_id:
            self._machines.setdefault(machine_id, Starts()).arrive(start_id, self._now())

    def leave(self, machine_id: str, start_id: str) -> None:
        """It has closed."""
        if start_id:
            self._machines[machine_id].leave(start_id, self._now())

    def are_at_work(self, machine_id: str) -> bool:
        """Whether two agents with the identity of this machine are alive."""
        starts = self._machines.get(machine_id)
        if starts is None:
            return False
        starts.forget_quiet(self._now())
        return len(starts.returned) > 1
