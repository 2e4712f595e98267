"""How fast a history is played: as fast as it goes, or so many times faster than its own clock."""

from __future__ import annotations

import datetime as dt
import re
import time
from dataclasses import dataclass, field

FAST = "fast"


@dataclass(frozen=True)
class Pace:
    """`factor` of the history's clock over the real one; None is as fast as it goes."""

    factor: float | None
    begins_at: dt.datetime
    _since: float = field(default_factory=time.monotonic)

    def seconds_until(self, moment: dt.datetime) -> float:
        """How long to wait before what happens at `moment`; 0 or less when it is due."""
        if self.factor is None:
            return 0.0
        return (moment - self.begins_at).total_seconds() / self.factor - (time.monotonic() - self._since)


def parse_rate(text: str) -> float | None:
    """ "fast" is None, "1x" the clock itself, "3600x" an hour a second. Raises ValueError."""
    if text == FAST:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no rate: give fast, 1x, or a factor such as 3600x.")
    return float(match[1])


def beginning(factor: float | None, *, days: int) -> dt.datetime:
    """Of a history that ends now, or, at a pace, begins now."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return now if factor is not None else now - dt.timedelta(days=days)
