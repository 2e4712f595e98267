"""When to try again: 1 s doubling to 60 s, each with full jitter, from the start after 2 minutes of peace.

Full jitter (a uniform draw from zero to the bound) spreads a fleet that lost its collector at one moment; see
Marc Brooker, "Exponential Backoff And Jitter", 2015.
"""

from __future__ import annotations

import random

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
STABLE_SECONDS = 120.0


class Reconnect:
    """Delays of one agent, in seconds."""

    def __init__(self) -> None:
        self._bound = FIRST_SECONDS

    def delay_after(self, connected_seconds: float, *, asked_seconds: float = 0.0) -> float:
        """How long to wait after a stream that lasted `connected_seconds`.

        `asked_seconds` is what the collector asked for; it is a floor, with jitter on top.
        """
        if connected_seconds >= STABLE_SECONDS:
            self._bound = FIRST_SECONDS
        jitter = random.uniform(0.0, self._bound)  # noqa: S311 # spreads load, protects nothing
        self._bound = min(self._bound * 2, LONGEST_SECONDS)
        return asked_seconds + jitter
