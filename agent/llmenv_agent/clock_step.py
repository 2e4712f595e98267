"""By how much this machine's time of day was set since it was compared with the collector's.

A stream may live for weeks and compares the clocks once, when it begins.  When NTP or a person sets the time
meanwhile, the offset that was found is wrong by as much.  Nobody sets the elapsed clock: a jump of the wall
clock against it is a step, and what the two drift apart by is none.
"""

from __future__ import annotations

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks

# The clocks are not read at one moment; a crystal is off by less than this share.
LEAST_STEP_SECONDS = 0.5
MOST_DRIFT = 5e-4


class ClockStep:
    """Not safe to use from several threads at once."""

    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._clocks = clocks
        self.forget()

    def forget(self) -> None:
        """Count from now on."""
        self._apart, self._looked_at = self._read()
        self._stepped = 0.0

    def seconds(self) -> float:
        """Above 0 where the clock was put forward."""
        apart, looked_at = self._read()
        change = apart - self._apart
        if abs(change) > LEAST_STEP_SECONDS + MOST_DRIFT * (looked_at - self._looked_at):
            self._stepped += change
        self._apart, self._looked_at = apart, looked_at
        return self._stepped

    def _read(self) -> tuple[float, float]:
        elapsed = self._clocks.elapsed()
        return self._clocks.wall() - elapsed, elapsed
