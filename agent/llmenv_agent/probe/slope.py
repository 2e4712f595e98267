"""The slope of a series that may have outliers."""

from __future__ import annotations

import statistics
from typing import Sequence


def theil_sen(series: Sequence[float]) -> float:
    """The median slope of all pairs of values that stand one unit apart; 0 for fewer than two.

    Sen 1968, doi 10.1080/01621459.1968.10480934: up to 29 % of the values may be anything.
    """
    slopes = [
        (later - earlier) / (to - start)
        for start, earlier in enumerate(series)
        for to, later in enumerate(series[start + 1 :], start + 1)
    ]
    return statistics.median(slopes) if slopes else 0.0
