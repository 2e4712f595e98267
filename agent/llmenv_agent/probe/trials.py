"""A timed series: its trials in the order taken, its warm-ups apart, and what may be said of it.

Pure: nothing here looks at a clock.  Three judgements, each with its source:

- `settled`: warm-ups go on until the medians of the last three and of the three before differ by at most
  5 %, the bound that pyperf's warm-up calibration sets on quartiles (pyperf/_worker.py,
  `test_calibrate_warmups`, with windows of 20, which a training step cannot afford).
- `unstable`: the rules of `pyperf check` (pyperf/_cli.py, `format_checks`): the standard deviation is 10 %
  of the mean or more, the shortest or longest trial is 50 % from the mean or more, or the shortest raw trial
  took less than 1 ms; and a series whose warm-up never settled.
- `declining`: the speed falls along the series, as that of a chip that throttles.  The Mann-Kendall test
  (Mann, Econometrica 13, 1945) rejects "no trend" one-sided at 0.001, and the Theil-Sen line (Sen, JASA 63,
  1968) loses 5 % or more of the median between its ends.  The normal approximation of the test is taken from
  ten values on (Kendall, Rank Correlation Methods), so shorter series are not judged at all.

A declining series is also spread out, so it is called declining rather than unstable.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from .findings import Findings

LEAST_TRIALS = 10
SETTLED_WINDOW, SETTLED_WITHIN = 3, 0.05
UNSTABLE_DEVIATION, UNSTABLE_EXTREME, SHORTEST_RAW_SECONDS = 0.10, 0.50, 1e-3
SIGNIFICANCE, LEAST_DECLINE = 1e-3, 0.05


class Trend(NamedTuple):
    """`change` is the relative rise of the Theil-Sen line over the series, negative where it falls.

    `p_value` is the one-sided probability of a fall like this one in a series without a trend.
    """

    change: float
    p_value: float

    @property
    def is_decline(self) -> bool:
        return self.p_value < SIGNIFICANCE and self.change <= -LEAST_DECLINE


@dataclasses.dataclass(frozen=True)
class Series:
    """`seconds` a call of each trial, in order, and of each warm-up; a trial is `loops` calls."""

    seconds: Tuple[float, ...]
    warmups: Tuple[float, ...] = ()
    loops: int = 1
    is_warm: bool = True

    @property
    def median(self) -> float:
        """Seconds a call."""
        return statistics.median(self.seconds)

    @property
    def stability(self) -> Optional[str]:
        """ "declining", "unstable" or "stable"; None for a series too short to be judged."""
        if len(self.seconds) < LEAST_TRIALS:
            return None
        if trend([1 / each for each in self.seconds]).is_decline:
            return "declining"
        is_noisy = not self.is_warm or is_unstable(self.seconds, loops=self.loops)
        return "unstable" if is_noisy else "stable"

    def measure_rate(self, findings: Findings, name: str, unit: str, *, work: float) -> float:
        """Record `work` a call over its seconds, in `unit`; returns the median of the trials."""
        return findings.measure(
            name,
            None,
            unit,
            better="higher",
            trials=[work / each for each in self.seconds],
            warmups=[work / each for each in self.warmups],
            stability=self.stability,
        )

    def measure_seconds(self, findings: Findings, name: str) -> float:
        """Record the seconds a call; returns the median of the trials."""
        return findings.measure(
            name,
            None,
            "s",
            better="lower",
            trials=self.seconds,
            warmups=self.warmups,
            stability=self.stability,
        )


def settled(seconds: Sequence[float]) -> bool:
    """Whether the last warm-ups are as fast as those before them."""
    if len(seconds) < 2 * SETTLED_WINDOW:
        return False
    last = statistics.median(seconds[-SETTLED_WINDOW:])
    before = statistics.median(seconds[-2 * SETTLED_WINDOW : -SETTLED_WINDOW])
    return abs(last - before) <= SETTLED_WITHIN * before


def is_unstable(seconds: Sequence[float], *, loops: int = 1) -> bool:
    """Whether `pyperf check` would warn of these seconds a call."""
    mean = statistics.mean(seconds)
    furthest = max(abs(each - mean) for each in seconds)
    return (
        statistics.stdev(seconds) >= UNSTABLE_DEVIATION * mean
        or furthest >= UNSTABLE_EXTREME * mean
        or min(seconds) * loops < SHORTEST_RAW_SECONDS
    )


def trend(values: Sequence[float]) -> Trend:
    """Mann-Kendall's test for a fall, corrected for ties and for continuity, and the Theil-Sen line.

    ValueError for fewer than two values, which have no trend.
    """
    pairs = [
        (later - earlier, values[later] - values[earlier])
        for earlier in range(len(values))
        for later in range(earlier + 1, len(values))
    ]
    if not pairs:
        raise ValueError("a trend needs two values")
    score = sum((rise > 0) - (rise < 0) for _, rise in pairs)
    slope = statistics.median(rise / steps for steps, rise in pairs)
    change = slope * (len(values) - 1) / statistics.median(values)
    return Trend(change, _probability_of_fall(score, _variance(values)))


def _variance(values: Sequence[float]) -> float:
    """Of Kendall's score in a series without a trend: n(n-1)(2n+5)/18, less what ties take away."""
    groups = [values.count(each) for each in set(values)]
    return (_spread(len(values)) - sum(_spread(tied) for tied in groups)) / 18


def _spread(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)


def _probability_of_fall(score: int, variance: float) -> float:
    if variance <= 0:
        return 1.0
    z = (score + 1) / math.sqrt(variance)
    return 0.5 * math.erfc(-z / math.sqrt(2))
