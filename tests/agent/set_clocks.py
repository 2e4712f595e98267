"""Clocks that a test sets: what sleep, a correction of the time of day and mere waiting do to each."""

from __future__ import annotations

from llmenv_agent.clocks import Clocks


class SetClocks:
    """Begins at `wall`, Unix seconds."""

    def __init__(self, wall: float = 1_000_000.0) -> None:
        self.wall, self.awake, self.elapsed = wall, 500.0, 700.0

    @property
    def clocks(self) -> Clocks:
        return Clocks(wall=lambda: self.wall, awake=lambda: self.awake, elapsed=lambda: self.elapsed)

    def wait(self, seconds: float) -> None:
        self.awake += seconds
        self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """The machine sleeps: its awake clock stands still."""
        self.wall += seconds
        self.elapsed += seconds

    def set_forward(self, seconds: float) -> None:
        """The time of day is corrected; back where `seconds` are negative."""
        self.wall += seconds
