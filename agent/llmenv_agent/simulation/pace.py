"""How fast a history is played: as fast as it goes, or so many times faster than its own clock."""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from dataclasses import dataclass, field

FAST = "fast"
DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Pace:
    """`factor` of the history's clock over the real one; None is as fast as it goes.

    After `duration` seconds of the real one nothing more happens.
    """

    factor: float | None
    begins_at: dt.datetime
    duration: float | None = None
    _since: float = field(default_factory=time.monotonic)

    def seconds_until(self, moment: dt.datetime) -> float:
        """How long to wait before what happens at `moment`; 0 or less when it is due."""
        if self.factor is None:
            return 0.0
        return (moment - self.begins_at).total_seconds() / self.factor - self._elapsed()

    def seconds_left(self) -> float:
        return math.inf if self.duration is None else self.duration - self._elapsed()

    def _elapsed(self) -> float:
        return time.monotonic() - self._since


def parse_rate(text: str, *, runs_per_day: float) -> float | None:
    """ "fast" is None, "1x" the clock itself, "3600x" an hour a second, "50/s" as many runs of the fleet.

    `runs_per_day` are the fleet's by the history's clock. Raises ValueError.
    """
    if text == FAST:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(x|/s)", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no rate: give fast, 1x, a factor such as 3600x, or runs such as 50/s.")
    return float(match[1]) * (1.0 if match[2] == "x" else DAY_SECONDS / runs_per_day)


def days_of(factor: float, duration: float) -> int:
    """How long a history at that pace is, that real time may cut short."""
    return max(1, math.ceil(factor * duration / DAY_SECONDS))


def beginning(factor: float | None, *, days: int, duration: float | None = None) -> dt.datetime:
    """Of a history that ends as its play does: at 1x it begins now, and as fast as it goes it ends now."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if factor is None:
        return now - dt.timedelta(days=days)
    seconds = min(days * DAY_SECONDS / factor, math.inf if duration is None else duration)
    return now - dt.timedelta(seconds=(factor - 1) * seconds)
