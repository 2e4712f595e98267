"""Durations counted in buckets that are a hundredth wide, so that millions take little room and add up.

What is said of them is at most 1 % above what was measured; the longest is exact.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

_WIDTH = math.log(1.01)
_LEAST_SECONDS = 1e-6


@dataclass
class Histogram:
    """Seconds; of each bucket the logarithm of its upper end, in hundredths, and how often."""

    buckets: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0

    def add(self, seconds: float, *, times: int = 1) -> None:
        self.buckets[math.ceil(math.log(max(seconds, _LEAST_SECONDS)) / _WIDTH)] += times
        self.longest = max(self.longest, seconds)

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.buckets + other.buckets, max(self.longest, other.longest))

    @property
    def count(self) -> int:
        return self.buckets.total()

    def quantile(self, share: float) -> float:
        """What at least this share does not exceed; 0 of none."""
        left = max(1, math.ceil(share * self.count))
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return min(math.exp(bucket * _WIDTH), self.longest)
        return 0.0
